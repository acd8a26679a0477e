# Airflow and the jobs, with the flight example as the project: docker build -f docker/airflow.Dockerfile .
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY docker/install.sh pyproject.toml requirements.lock ./
RUN sh install.sh --extra celery --extra s3 --group example
COPY README.md LICENSE ./
COPY jobs jobs
COPY lookup_api lookup_api
COPY dags dags
COPY sql sql
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel . && \
    /opt/build/bin/uv pip install --quiet --python /opt/venv/bin/python --no-deps --compile-bytecode /tmp/wheel/*.whl && \
    /opt/build/bin/uv pip check --python /opt/venv/bin/python

FROM python:3.11-slim-bookworm
# ONNX Runtime's string operators, as in a TF-IDF model, need the locale en_US.UTF-8.
RUN apt-get update -qq && apt-get install --yes -qq --no-install-recommends locales && \
    localedef -i en_US -f UTF-8 en_US.UTF-8 && rm -rf /var/lib/apt/lists/*
# The user and group ids of the official Airflow image, which its Helm chart expects.
RUN useradd --uid 50000 --gid 0 --home-dir /opt/airflow --create-home airflow
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PRESCORE_PROJECT=/srv/prescore \
    PRESCORE_STORE=/srv/store \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/srv/prescore/dags \
    AIRFLOW__CORE__LOAD_EXAMPLES=False
WORKDIR /srv/prescore
COPY prescore.toml ./
COPY specs specs
COPY sql/domains sql/domains
COPY jobs/flights jobs/flights
COPY dags/*.py dags/
COPY docker/airflow /opt/airflow/bin
# Volumes take over the owner of the folder that they are mounted on.
RUN mkdir -p data models /srv/store /opt/airflow/logs && \
    chown -R airflow:0 data models /srv/store /opt/airflow && chmod -R g=u data models /srv/store /opt/airflow
USER airflow
