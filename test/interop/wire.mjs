// A wire in real time between two TAP devices that the real kernel has at both ends. It is a host of this stack that
// forwards, with a qdisc on each of its cards.
// usage: wire.mjs TAP0 TAP1 QDISC0 QDISC1   QDISC0 is what frames to TAP0 pass. Ends with its standard input.
import { attachTap, createKernel } from "../../dist/src/index.js";
import { Tap } from "../../dist/src/platform/node/tap.js";

const [tap0, tap1, qdisc0, qdisc1] = process.argv.slice(2);
const kernel = await createKernel({ seed: 1 });
const host = kernel.netns("r");
const taps = [Tap.open(tap0, { vnetHdr: false }), Tap.open(tap1, { vnetHdr: false })];
const qdiscs = [qdisc0, qdisc1];
taps.forEach((tap, i) => {
  const dev = attachTap(kernel, host, tap, { name: `eth${i}` });
  host.ip(`addr add 10.77.${i}.254/24 dev eth${i}`);
  host.ip(`link set eth${i} up`);
  host.tc(`qdisc add dev eth${i} root ${qdiscs[i]}`);
  tap.start(kernel.core, dev);
});
host.sysctl("net.ipv4.ip_forward=1");
process.stdout.write("ready\n");
process.stdin.on("end", () => {
  process.stdout.write(`${JSON.stringify({ show: host.tc("-s qdisc show"), full: taps.map((t) => t.txFull) })}\n`);
  process.exit(0);
});
process.stdin.resume();
