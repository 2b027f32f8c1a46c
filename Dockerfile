# The image that releases come with: the static kenv and nothing else. goreleaser gives
# the programs of all platforms in a directory each.
#
#   docker run --rm -v "$PWD:/work" -e KENV_AGE_KEY ghcr.io/kenvhq/kenv decrypt secrets.yaml
ARG BASE=gcr.io/distroless/static-debian12:nonroot
FROM $BASE
ARG TARGETPLATFORM
COPY LICENSE /usr/share/doc/kenv/copyright
COPY $TARGETPLATFORM/kenv /usr/bin/kenv
USER nonroot:nonroot
WORKDIR /work
ENTRYPOINT ["/usr/bin/kenv"]
