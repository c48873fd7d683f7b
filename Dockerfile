# tusd-py as a user of its own, data in /srv/uploads:
#   docker build --tag tusd-py .
#   docker run --publish 127.0.0.1:1080:1080 --volume uploads:/srv/uploads tusd-py
# Options come as variables: --env TUSD_PY_MAX_SIZE=10GiB. docker-compose.yml has more of them.

FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/tusd-py && \
    /opt/tusd-py/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md ./
COPY config config/
COPY plugins plugins/
COPY tusd_py tusd_py/
# pip and setuptools have done what they are for; what serves strangers does without.
RUN /opt/tusd-py/bin/pip install --no-cache-dir --no-build-isolation --no-deps . && \
    /opt/tusd-py/bin/pip uninstall --yes setuptools pip

FROM python:3.13-slim
COPY --from=build /opt/tusd-py /opt/tusd-py/
# The folder is there, and belongs to that user, so that a new volume on top of it does too.
RUN install --directory --owner=1000 --group=1000 --mode=0700 /srv/uploads
USER 1000:1000
WORKDIR /srv/uploads
ENV TUSD_PY_HOST=0.0.0.0 TUSD_PY_UPLOAD_DIR=/srv/uploads
VOLUME ["/srv/uploads"]
EXPOSE 1080
# SIGTERM ends running bodies and keeps what came; give it longer than shutdown_timeout (10s) before the SIGKILL.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["/opt/tusd-py/bin/python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 1080, timeout=3); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["/opt/tusd-py/bin/tusd-py"]
CMD ["serve"]
