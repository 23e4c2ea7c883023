"""A runner of the AI demo's three pipelines, without models: ``python fake_runner.py``."""

import asyncio
import os
import signal
from base64 import b64encode

import av
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

SECONDS = 2
RATE_HZ = 16000


def silence():
    """Two seconds of WAV, as a data URL."""
    import io

    out = io.BytesIO()
    frame = av.AudioFrame("s16", "mono", SECONDS * RATE_HZ)
    frame.sample_rate = RATE_HZ
    frame.planes[0].update(bytes(2 * SECONDS * RATE_HZ))
    with av.open(out, "w", format="wav") as file:
        stream = file.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return "data:audio/wav;base64," + b64encode(out.getvalue()).decode()


def answering(pipeline):
    def version(_request):
        return JSONResponse({"version": "0.14.1"})

    def health(_request):
        return JSONResponse({"status": "OK"})

    async def job(request):
        body = await request.body()
        if b"fail" in body:
            return JSONResponse({"detail": {"msg": "as asked"}}, status_code=500)
        if pipeline == "text-to-speech":
            return JSONResponse({"audio": {"url": silence()}})
        return JSONResponse({"text": f"{pipeline} of {len(body) > 1000}", "chunks": []})

    routes = [Route("/health", health), Route("/version", version), Route("/hardware/info", health)]
    return Starlette(routes=[*routes, Route(f"/{pipeline}", job, methods=["POST"])])


async def main():
    config = uvicorn.Config(
        answering(os.environ["PIPELINE"]),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        log_level="error",
    )
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())
