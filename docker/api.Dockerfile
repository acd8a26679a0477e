# The lookup API and the commands that need only the catalog: docker build -f docker/api.Dockerfile .
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY docker/install.sh pyproject.toml requirements.lock ./
# More of prescore's extras, as in --build-arg EXTRAS="oip live s3".
ARG EXTRAS="oip"
RUN sh install.sh $(printf -- '--extra %s ' $EXTRAS)
COPY README.md LICENSE ./
COPY jobs jobs
COPY lookup_api lookup_api
COPY dags dags
COPY sql sql
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel . && \
    /opt/build/bin/uv pip install --quiet --python /opt/venv/bin/python --no-deps --compile-bytecode /tmp/wheel/*.whl && \
    /opt/build/bin/uv pip check --python /opt/venv/bin/python

FROM python:3.11-slim-bookworm
RUN useradd --uid 50001 --no-create-home prescore
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
USER prescore
EXPOSE 8000 8001
CMD ["prescore", "serve", "--host", "0.0.0.0"]
