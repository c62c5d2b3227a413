# emtools with its workflow, from the same lock as `make env`:
#   docker build -t emtools . && docker run --rm -v "$PWD:/data" emtools emtools impute table.csv --out results
FROM python:3.12-slim-bookworm

ENV MPLBACKEND=agg \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/tmp/numba \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /opt/emtools
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE Snakefile ./
COPY emtools emtools
COPY workflow workflow
COPY config config
COPY resources resources
RUN pip install --no-cache-dir --no-deps --no-build-isolation . && emtools doctor

WORKDIR /data
CMD ["emtools", "--help"]
