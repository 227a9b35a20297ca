/** `skbuff serve`: node:http over this stack, on a TAP device. */

import * as fs from "node:fs";
import * as http from "node:http";
import * as path from "node:path";
import { createKernel } from "../init/create.ts";
import { attachTap } from "../init/tap.ts";
import { Tap } from "../platform/node/tap.ts";
import { parseOptions, UsageError } from "./usage.ts";

const HELP = `Usage: skbuff serve --tap NAME --address CIDR [OPTIONS] DIR

Serves the files of DIR by HTTP from a host of its own, whose network card is the TAP device NAME. Needs
CAP_NET_ADMIN and the optional package koffi. The kernel's side of NAME is yours to configure:
  ip addr add 10.9.0.1/24 dev NAME; ip link set NAME up

  --tap NAME        the TAP device; made if it is not there
  --address CIDR    this host's address, for example 10.9.0.2/24
  --gateway ADDR    default route
  --port N          port (default 80)
  --mtu N           MTU of the device (default 1500)
  --no-offload      whole frames and checksums only (no virtio_net_hdr)
  --netem ARGS      impairment of what this host sends, as for tc: "loss 1% delay 5ms reorder 25%"
  --pcap FILE       capture everything
  --sysctl K=V      set a sysctl first; may be given as K=V,K=V
`;

export async function run(argv: string[]): Promise<number> {
  const parsed = parseOptions(
    argv,
    {
      tap: { type: "string" },
      address: { type: "string" },
      gateway: { type: "string" },
      port: { type: "string" },
      mtu: { type: "string" },
      "no-offload": { type: "boolean" },
      netem: { type: "string" },
      pcap: { type: "string" },
      sysctl: { type: "string" },
    },
    HELP,
  );
  if (parsed === null) return 0;
  const v = parsed.values;
  const dir = parsed.positionals[0];
  if (dir === undefined || parsed.positionals.length > 1) throw new UsageError("serve needs one DIR");
  if (!fs.existsSync(dir) || !fs.statSync(dir).isDirectory()) throw new UsageError(`${dir}: no such directory`);
  if (typeof v["tap"] !== "string") throw new UsageError("serve needs --tap NAME");
  const address = v["address"];
  if (typeof address !== "string" || !/^\d+\.\d+\.\d+\.\d+\/\d+$/.test(address)) {
    throw new UsageError("serve needs --address A.B.C.D/LEN");
  }
  const port = Number(v["port"] ?? 80);
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw new UsageError(`--port: "${String(v["port"])}"`);

  const kernel = await createKernel();
  const host = kernel.netns("serve");
  const tap = Tap.open(v["tap"], { vnetHdr: v["no-offload"] !== true });
  const dev = attachTap(kernel, host, tap, { mtu: Number(v["mtu"] ?? 1500) });
  host.ip(`addr add ${address} dev ${dev.name}`);
  host.ip(`link set ${dev.name} up`);
  if (typeof v["gateway"] === "string") host.ip(`route add default via ${v["gateway"]}`);
  if (typeof v["sysctl"] === "string") for (const kv of v["sysctl"].split(",")) host.sysctl(kv);
  if (typeof v["netem"] === "string") host.tc(`qdisc add dev ${dev.name} root netem ${v["netem"]}`);
  if (typeof v["pcap"] === "string") {
    const fd = fs.openSync(v["pcap"], "w");
    const capture = kernel.capture([dev], (block) => void fs.writeSync(fd, block));
    process.on("exit", () => capture.stop());
  }
  tap.start(kernel.core, dev);

  const handler = fileServer(path.resolve(dir));
  const server = http.createServer(handler);
  const acceptor = host.net.createServer((socket) => {
    server.emit("connection", socket);
  });
  acceptor.listen(port, () => process.stdout.write(`serving ${dir} on http://${address.split("/")[0]}:${port}/\n`));
  return await new Promise<number>((resolve) => {
    const end = (): void => {
      acceptor.close();
      kernel.close();
      resolve(0);
      // Downloads that are still going on would hold the process.
      setImmediate(() => process.exit(0));
    };
    process.once("SIGINT", end);
    process.once("SIGTERM", end);
    acceptor.on("error", (e: Error) => {
      process.stderr.write(`skbuff: ${e.message}\n`);
      resolve(1);
    });
  });
}

/** GET and HEAD of the files below `root`, with a listing for folders and single byte ranges. */
function fileServer(root: string): http.RequestListener {
  return (req, res) => {
    if (req.method !== "GET" && req.method !== "HEAD") {
      res.writeHead(405, { allow: "GET, HEAD" }).end();
      return;
    }
    let target: string;
    try {
      target = path.join(root, decodeURIComponent(new URL(req.url ?? "/", "http://x").pathname));
    } catch {
      res.writeHead(400).end();
      return;
    }
    if (target !== root && !target.startsWith(root + path.sep)) {
      res.writeHead(403).end();
      return;
    }
    fs.stat(target, (err, st) => {
      if (err) {
        res.writeHead(404).end("not found\n");
        return;
      }
      if (st.isDirectory()) {
        fs.readdir(target, (e, names) => {
          if (e) res.writeHead(500).end();
          else res.writeHead(200, { "content-type": "text/plain; charset=utf-8" }).end(`${names.sort().join("\n")}\n`);
        });
        return;
      }
      const range = /^bytes=(\d+)-(\d*)$/.exec(req.headers.range ?? "");
      let start = 0;
      let end = st.size - 1;
      if (range !== null) {
        start = Number(range[1]);
        if (range[2] !== "") end = Math.min(end, Number(range[2]));
        if (start > end) {
          res.writeHead(416, { "content-range": `bytes */${st.size}` }).end();
          return;
        }
      }
      res.writeHead(range === null ? 200 : 206, {
        "content-type": "application/octet-stream",
        "content-length": end - start + 1,
        "accept-ranges": "bytes",
        ...(range === null ? {} : { "content-range": `bytes ${start}-${end}/${st.size}` }),
      });
      if (req.method === "HEAD" || st.size === 0) {
        res.end();
        return;
      }
      const stream = fs.createReadStream(target, { start, end, highWaterMark: 256 * 1024 });
      stream.on("error", () => res.destroy());
      res.on("close", () => stream.destroy());
      stream.pipe(res);
    });
  };
}
