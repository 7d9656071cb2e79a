"""Two uvicorn workers (uvloop, httptools), connections kept, no access log."""

workers = 2
worker_class = "uvicorn_worker.UvicornWorker"
keepalive = 300
accesslog = None
loglevel = "warning"
