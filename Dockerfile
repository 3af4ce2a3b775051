# The service, with the page, on a CPU. Needs no network at run time.
#     docker build -t medsam-planner .
# Where the Python index serves torch without CUDA by itself: --build-arg TORCH_INDEX=
FROM debian:trixie-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY medsam_planner medsam_planner
COPY prompts prompts
COPY xai xai
COPY ui ui
COPY weights weights
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/medsam-planner \
    && /opt/medsam-planner/bin/pip install --quiet -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
    && /opt/medsam-planner/bin/pip install --quiet -c constraints.txt '.[serve,ui,medsam]'

FROM debian:trixie-slim
# Open3D needs the libraries beside Python.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 libegl1 libgl1 libgomp1 libidn2-0 libusb-1.0-0 libx11-6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home planner \
    && install -d -o planner -m 0700 /data
COPY --from=build /opt/medsam-planner /opt/medsam-planner
ENV PATH=/opt/medsam-planner/bin:$PATH HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
VOLUME /data
EXPOSE 7861
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7861/healthz', timeout=4)"]
ENTRYPOINT ["medsam-planner"]
CMD ["serve", "--host", "0.0.0.0", "--data", "/data", "--token-file", "/run/secrets/token"]
