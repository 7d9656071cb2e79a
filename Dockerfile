# The gateway in a small image: one binary, no shell, not root.
#
#   docker build -t pointsman .
#   docker run -p 8080:8080 -v ./pointsman.toml:/etc/pointsman/pointsman.toml:ro \
#       -v ./models:/etc/pointsman/models:ro -v pointsman-data:/var/lib/pointsman pointsman
#
# In a container, listen on 0.0.0.0 (see config/examples/container.toml). The base images are pinned by tag;
# pin them by digest in an own copy if builds must be the same bit by bit.

FROM rust:1.95-bookworm AS build
# zlib-ng is built with cmake.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY config/schema.json config/schema.json
# The manifest names these; they are not part of the binary.
COPY benches benches
COPY tests/it tests/it
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin pointsman \
    && install -D target/release/pointsman /image/usr/local/bin/pointsman \
    && install -d /image/etc/pointsman \
    && install -d -o 65532 -g 65532 /image/var/lib/pointsman

# Of the same Debian release as above, for its libc.
FROM debian:bookworm-slim
COPY --from=build /image /
COPY config/examples/container.toml /etc/pointsman/pointsman.toml
USER 65532:65532
# Predictions, and health with metrics.
EXPOSE 8080 9901
VOLUME /var/lib/pointsman
# Ready as the admin listener says; the binary asks, for there is no curl in here.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/pointsman", "health", "-c", "/etc/pointsman/pointsman.toml"]
# SIGTERM drains: give the container at least `drain.delay` + `drain.timeout` before it is killed.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/pointsman"]
CMD ["run", "-c", "/etc/pointsman/pointsman.toml"]
