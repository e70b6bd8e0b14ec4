# Headgate in a container: `headgate up`, the store in /data, as a user without rights. It listens on loopback only:
# give it the host's network, or put a Collector into its network as docker-compose.yml does.
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY processors processors
COPY analytics analytics
COPY control control
COPY gateways gateways
COPY console console
COPY collector-config collector-config
RUN python -m venv /headgate && /headgate/bin/pip install --no-cache-dir ".[fast]"

FROM python:3.13-slim
RUN useradd --system --uid 10001 headgate && install -d -o headgate /data /queue
COPY --from=build /headgate /headgate
ENV PATH=/headgate/bin:$PATH PYTHONUNBUFFERED=1 HEADGATE_DATA=/data
USER headgate
VOLUME /data
EXPOSE 4317 4318 7400
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7400/readyz', timeout=2)"]
ENTRYPOINT ["headgate"]
CMD ["up"]
