// Runs inside a network namespace: hands IP packets to the real kernel through TUN devices and records what it answers.
// usage: inject.mjs job.json   The job: {devices: [[name, "10.0.0.1/24"]], commands: [[...]], packets: [[name, hex]], wait}
// Prints, for each packet, a list of [device, hex] that came out within `wait` milliseconds.
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import koffi from "koffi";

const TUNSETIFF = 0x400454ca;
const IFF_TUN = 1;
const IFF_NO_PI = 0x1000;
const ioctl = koffi.load(null).func("int ioctl(int, unsigned long, void *)");

const job = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const run = (...command) => execFileSync(command[0], command.slice(1), { stdio: ["ignore", "ignore", "inherit"] });
const fds = new Map();
for (const [name, addr] of job.devices) {
  const fd = fs.openSync("/dev/net/tun", fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
  const ifreq = Buffer.alloc(40);
  ifreq.write(name, 0, "latin1");
  ifreq.writeUInt16LE(IFF_TUN | IFF_NO_PI, 16);
  if (ioctl(fd, TUNSETIFF, ifreq) < 0) throw new Error(`TUNSETIFF ${name} failed`);
  run("sysctl", "-qw", `net.ipv6.conf.${name}.disable_ipv6=1`);
  run("ip", "addr", "add", addr, "brd", "+", "dev", name);
  run("ip", "link", "set", name, "up");
  fds.set(name, fd);
}
for (const command of job.commands) run(...command);

const buf = Buffer.alloc(70000);
const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
function readAll(out) {
  for (const [name, fd] of fds) {
    for (;;) {
      let n;
      try {
        n = fs.readSync(fd, buf);
      } catch (e) {
        if (e.code === "EAGAIN") break;
        throw e;
      }
      // IPv4 only, and no IGMP of the kernel's own.
      if (buf[0] >>> 4 === 4 && buf[9] !== 2) out.push([name, buf.toString("hex", 0, n)]);
    }
  }
}
sleep(300);
readAll([]);
const answers = [];
for (const [name, hex] of job.packets) {
  const out = [];
  try {
    fs.writeSync(fds.get(name), Buffer.from(hex, "hex"));
    sleep(job.wait);
    readAll(out);
  } catch (e) {
    out.push(["error", e.code]);
  }
  answers.push(out);
}
process.stdout.write(JSON.stringify(answers));
