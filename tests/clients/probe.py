import asyncio, sys, tempfile, contextlib
sys.path.insert(0,"/work/main/tests"); sys.path.insert(0,"/work/main/tests/clients")
from pathlib import Path
import tools
from tools import *
from client_environments import real_wheels
from processes import ppmproxy_run
from ppmproxy.stand_in import StandIn
async def main(names, mode):
    get_every_tool(); real_wheels()
    import only_loopback; only_loopback.leave_the_network()
    for t in [t for t in vars(tools).values() if isinstance(t, Tool)]:
        if t.name not in names or not t.install: continue
        tmp = Path(tempfile.mkdtemp())
        async with StandIn(base_path="/rspm") as s:
            for w in real_wheels().values(): s.add(w)
            tok = s.issue_token(lifetime=-1) if mode=="expired" else s.token
            async with ppmproxy_run(tmp, PPMPROXY_UPSTREAM=s.url, PPMPROXY_CA_FILE=str(s.write_ca(tmp/"ca.pem")), PPMPROXY_TOKEN=tok) as r:
                d = desk(t, tmp/"d", INDEX=r.index_url)
                if mode=="down": await s.close()
                if mode=="lock":
                    e = await d.run(*t.lock); print(t, "LOCK", e.code, e.seconds, e.output[-3000:])
                    print(d.lock_file.read_text()[:3000])
                    e = await d.run(*t.again); print(t, "AGAIN", e.code, e.seconds, e.output[-3000:])
                else:
                    e = await d.run(*t.install)
                    print("=====", t, mode, e.code, e.seconds, e.output[-3500:])
                if not e.code: print(await d.imported())
                for x in s.requests: print("   ", x, x.header("user-agent")[:40])
asyncio.run(main(sys.argv[2].split(","), sys.argv[1]))
