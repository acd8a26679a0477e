"""Score every answer before it is asked.

    specs/<model>.toml + sql/domains/<model>.sql + model.onnx
      → snapshot   freeze the domain
      → score      chunk by chunk, Arrow batch in, Arrow batch out
      → stage      COPY into the version's own table, then never change it
      → check      before anyone can see it
      → publish    move the pointer that readers follow

`prescore.materialize` is that flow on one page; `prescore.cli` is the edge for people.
"""
