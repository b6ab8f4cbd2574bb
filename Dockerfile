# The images of this system, one target each: `docker build --target invoice-app .` (or podman; no build argument is needed).
#
# Dependencies are compiled in a layer of their own, which a change of our sources leaves alone. What comes out is one
# static binary on an empty file system, run by a numeric user: a kubelet that enforces `runAsNonRoot` cannot tell
# whether a user given by name is root.

# glibc and not musl, whose allocator is slow: what is deployed is what docs/performance.md measures. Linked statically, it needs
# nothing of this image at run time, and finds names by /etc/hosts and DNS without it.
FROM docker.io/library/rust:1.95.0-slim-bookworm AS chef
# The image's toolchain is the pinned one; nothing is to be installed beside it.
ENV RUSTUP_TOOLCHAIN=1.95.0 \
    CARGO_INCREMENTAL=0 \
    SQLX_OFFLINE=true
RUN cargo install cargo-chef --version 0.1.78 --locked
# After the tools: those may well be dynamic. Given a target, cargo leaves macros and build scripts out of it.
ENV RUSTFLAGS="-C target-feature=+crt-static"
WORKDIR /build

FROM chef AS planner
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS builder
COPY --from=planner /build/recipe.json recipe.json
RUN cargo chef cook --release --locked --recipe-path recipe.json --target "$(rustc --print host-tuple)" \
    --package invoice-app --package nats-reloader --package payment-provider --package probe --package reconcile
COPY . .
# Of the sources, for `*_build_info`. Here and not above, so that a commit costs no dependency.
ARG GIT_REVISION=unknown
RUN target=$(rustc --print host-tuple) \
    && GIT_REVISION="$GIT_REVISION" cargo build --release --locked --target "$target" \
        --package invoice-app --package nats-reloader --package payment-provider --package probe --package reconcile \
    && mkdir /out \
    && for program in invoice-app nats-reloader payment-provider probe reconcile; do cp "target/$target/release/$program" /out/; done \
    && ! grep -l FAIL_POINTS /out/invoice-app /out/payment-provider

# What they have in common: the public certificate authorities, for a bank or a database that shows such a certificate.
FROM scratch AS runtime
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 65532:65532

FROM runtime AS invoice-app
LABEL org.opencontainers.image.title="invoice-app" \
      org.opencontainers.image.description="Owns invoices: HTTP in, pay requests out over NATS, outcomes settled" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /out/invoice-app /usr/bin/invoice-app
EXPOSE 8081 9081
ENTRYPOINT ["/usr/bin/invoice-app"]
CMD ["serve"]

FROM runtime AS payment-provider
LABEL org.opencontainers.image.title="payment-provider" \
      org.opencontainers.image.description="Owns payments: takes pay requests from NATS, pays them at the bank, answers" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /out/payment-provider /usr/bin/payment-provider
EXPOSE 9082
ENTRYPOINT ["/usr/bin/payment-provider"]
CMD ["serve"]

FROM runtime AS reconcile
LABEL org.opencontainers.image.title="reconcile" \
      org.opencontainers.image.description="Compares invoices, payments, the ledger and the bank, payment by payment" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /out/reconcile /usr/bin/reconcile
ENTRYPOINT ["/usr/bin/reconcile"]

# Runs beside each NATS server.
FROM runtime AS nats-reloader
LABEL org.opencontainers.image.title="nats-reloader" \
      org.opencontainers.image.description="Has nats-server take certificates that have been replaced" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /out/nats-reloader /usr/bin/nats-reloader
ENTRYPOINT ["/usr/bin/nats-reloader"]

# Tries connections from inside the cluster, for the tests of isolation. Never part of a deployment.
FROM runtime AS probe
LABEL org.opencontainers.image.title="probe" \
      org.opencontainers.image.description="Tries connections and NATS permissions from inside a cluster" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /out/probe /usr/bin/probe
ENTRYPOINT ["/usr/bin/probe"]
