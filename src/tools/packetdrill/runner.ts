/**
 * Runs a script against a host of its own, in virtual time: system calls are made and packets injected when the script says,
 * and what the host sends must be what it expects, when it expects it.
 */

import { createNet, destroyNet, startKernel } from "../../init/main.ts";
import type { Clock, Kernel } from "../../kernel/kernel.ts";
import { seededRandom } from "../../kernel/random.ts";
import { createMachineSync } from "../../mm/mem.ts";
import type { Net } from "../../net/core/net_namespace.ts";
import { ErrBox } from "../../net/core/sock.ts";
import { inetAton } from "../../net/ipv4/inet_addr.ts";
import { sysGetsockopt } from "../../net/socket.ts";
import { SO_MEMINFO, SOL_SOCKET, SOL_TCP } from "../../uapi/socket.ts";
import { TCP_CC_INFO, TCP_INFO } from "../../uapi/tcp.ts";
import { ipCommand } from "../ip_command.ts";
import { CodeRunner } from "./code.ts";
import type { ReadScript } from "./commands.ts";
import { Shell, setDefaults } from "./commands.ts";
import { lex, ScriptError } from "./lexer.ts";
import type { Sniffed } from "./netdev.ts";
import { ScriptDevice } from "./netdev.ts";
import type { Packet, TcpOption, TcpPart } from "./packet.ts";
import {
  aceOf,
  decodePacket,
  encodeEchoed,
  encodePacket,
  formatOuter,
  formatPacket,
  TCP_ACK,
  TCP_AE,
  TCP_CWR,
  TCP_ECE,
  TCP_FIN,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
  TCP_URG,
} from "./packet.ts";
import type { Action, Script, ScriptEvent } from "./parser.ts";
import { parseScript } from "./parser.ts";
import type { ScriptResult } from "./report.ts";
import type { CallContext } from "./socket_calls.ts";
import { runSyscall, SERVER_PORT } from "./socket_calls.ts";
import { codeSymbols } from "./symbols.ts";

export interface RunOptions {
  /** "ipv4" is what there is. */
  readonly ipVersion?: string;
  /** -D: symbols that are replaced while a script is read. */
  readonly defines?: ReadonlyMap<string, string>;
  readonly seed?: number;
  /** Shell scripts that a script runs (`./defaults.sh`), by the path from its folder; null: there is no such file. */
  readonly readScript?: ReadScript;
}

/** What scripts take for granted. */
const DEFAULT_DEFINES: readonly (readonly [string, string])[] = [
  ["TFO_COOKIE", "3021b9d889017eeb"],
  ["TFO_COOKIE_ZERO", "b7c12350a90dc8f5"],
  ["CODE", "host_unreachable"],
];

interface Config {
  localIp: number;
  remoteIp: number;
  toleranceUs: number;
  tolerancePercent: number;
  tsTickUs: number;
  tsEcrScaled: boolean;
  strict: boolean;
  mss: number;
}

/** Where the machine's clock starts: a boot, long ago enough for limits that refill. */
const BOOT_US = 300_000_000;
/** Scripts begin in the first half of a jiffy, so that times at whole milliseconds are never at its edge. */
const JIFFY_OFFSET_US = 250;
/**
 * What a packet or a call costs the machine that scripts are written on. Nothing there happens in no time, and the stack asks
 * "was that more than a millisecond ago?" of events that scripts put a millisecond apart.
 */
const EVENT_COST_US = 10;
/** How long after it was due a packet is waited for. */
const PATIENCE_US = 2_000_000;
/** A wait without an end: longer than any timer of the stack. */
const ANY_TIME_US = 3_600_000_000;
/** A call that should not block may take this long; so does one that another call waits for. */
const CALL_US = 10_000_000;
const FIRST_EPHEMERAL_PORT = 40_000;

class ScriptClock implements Clock {
  time = BOOT_US;
  now(): number {
    return this.time;
  }
  realtime(): number {
    return 1_767_225_600_000_000 + this.time;
  }
}

type SocketState =
  | "new"
  | "listening"
  | "connecting"
  | "syn-sent"
  | "connected"
  | "syn-received"
  | "synack-sent"
  | "acked";

/** The socket under test. Sequence numbers of the script are relative to `*Isn`. */
class TestSocket {
  state: SocketState = "new";
  scriptFd = -1;
  liveFd = -1;
  protocol = 6;
  localPort = 0;
  remotePort = 0;
  scriptLocalIsn = 0;
  liveLocalIsn = 0;
  remoteIsn = 0;
  /** Live time stamps by the script's. */
  readonly tsVal: Map<number, number> = new Map();
  firstTs: { script: number; live: number } | null = null;
}

interface Pending {
  readonly event: ScriptEvent;
  readonly end: number;
  done: boolean;
  error: unknown;
  finished: number;
}

/** Runs the text of a script. Never throws for what is wrong with the script. */
export async function runScript(file: string, text: string, options: RunOptions = {}): Promise<ScriptResult> {
  let line = 0;
  let run: ScriptRun | null = null;
  try {
    if (options.ipVersion !== undefined && options.ipVersion !== "ipv4")
      throw new ScriptError(1, `IP version ${options.ipVersion} is not supported`);
    const defines = new Map([...DEFAULT_DEFINES, ...(options.defines ?? [])]);
    const script = parseScript(text, withDefines(text, defines));
    run = new ScriptRun(script, options.seed ?? 1, options.readScript);
    await run.run();
    return { file, passed: true, line: 0, message: "", seconds: run.seconds };
  } catch (e) {
    line = e instanceof ScriptError ? e.line : (run?.line ?? 0);
    const message = e instanceof ScriptError ? e.message : `${e instanceof Error ? (e.stack ?? e.message) : String(e)}`;
    return { file, passed: false, line, message, seconds: run?.seconds ?? 0 };
  } finally {
    run?.close();
  }
}

/** --define of the script itself comes before the words that it changes. */
function withDefines(text: string, defines: Map<string, string>): Map<string, string> {
  for (const t of lex(text, new Map())) {
    if (t.type === "command" || t.type === "end") break;
    if (t.type !== "option" || t.text !== "define") continue;
    const m = /^=\s*(\w+)=("[^"\n]*"|`[^`\n]*`|\S+)/.exec(text.slice(t.end));
    if (m === null) throw new ScriptError(t.line, "--define wants SYMBOL=value");
    defines.set(m[1] as string, m[2] as string);
  }
  return defines;
}

class ScriptRun {
  readonly #script: Script;
  readonly #config: Config;
  readonly #clock: ScriptClock = new ScriptClock();
  readonly #core: Kernel;
  readonly #net: Net;
  readonly #device: ScriptDevice;
  readonly #shell: Shell;
  readonly #context: CallContext;
  readonly #sockets: TestSocket[] = [];
  #current: TestSocket | null = null;
  #start = 0;
  #event: ScriptEvent;
  /** Script time of the current event and the one before it; microseconds from the start. */
  #time = 0;
  #timeEnd = 0;
  #offset = 0;
  #last: { event: ScriptEvent; time: number } | null = null;
  #pending: Pending | null = null;
  #ephemeral = FIRST_EPHEMERAL_PORT;
  readonly #code: { text: string; line: number; info: Readonly<Record<string, number>> | null }[] = [];

  constructor(script: Script, seed: number, readScript?: ReadScript) {
    this.#script = script;
    this.#config = configOf(script);
    this.#event = script.events[0] as ScriptEvent;
    const machine = createMachineSync({ memoryBytes: 64 * 1024 * 1024 });
    this.#core = startKernel(machine, this.#clock, seededRandom(seed));
    this.#net = createNet(this.#core, "host");
    this.#device = new ScriptDevice(this.#net);
    this.#shell = new Shell(this.#net, readScript);
    const config = this.#config;
    const clock = this.#clock;
    const start = (): number => clock.realtime() - clock.time + this.#start;
    this.#context = {
      net: this.#net,
      localIp: config.localIp,
      remoteIp: config.remoteIp,
      fds: new Map(),
      get startRealtime(): number {
        return start();
      },
      toleranceUs: config.toleranceUs,
      readFile: (path) => this.#shell.read(path),
      onSocket: (scriptFd, liveFd, protocol) => {
        const s = new TestSocket();
        s.scriptFd = scriptFd;
        s.liveFd = liveFd;
        s.protocol = protocol === 0 ? 6 : protocol;
        this.#sockets.push(s);
        this.#current = s;
      },
      onListen: (scriptFd) => {
        const s = this.#socketOf(scriptFd);
        if (s !== null) s.state = "listening";
      },
      onConnect: (scriptFd, disconnect) => this.#onConnect(scriptFd, disconnect),
      onAccept: (scriptFd, liveFd) => {
        for (let i = this.#sockets.length - 1; i >= 0; i--) {
          const s = this.#sockets[i] as TestSocket;
          if ((s.state !== "synack-sent" && s.state !== "acked") || s.scriptFd >= 0) continue;
          s.scriptFd = scriptFd;
          s.liveFd = liveFd;
          return;
        }
      },
    };
    this.#setUp();
  }

  /** Virtual seconds that the script has taken. */
  get seconds(): number {
    return (this.#clock.time - this.#start) / 1e6;
  }

  /** Line of the current event. */
  get line(): number {
    return this.#event.line;
  }

  close(): void {
    this.#shell.reset();
    destroyNet(this.#net);
    this.#core.run();
  }

  #setUp(): void {
    const c = this.#config;
    const gateway = c.localIp === inetAton("192.168.0.2") ? "192.168.0.1" : "192.168.0.2";
    const local = dotted(c.localIp);
    for (const command of [
      "link set lo up",
      `addr add ${local}/16 dev tun0`,
      "link set tun0 up",
      `route add ${dotted(c.remoteIp)} via ${gateway} dev tun0`,
    ]) {
      this.#core.enter();
      const result = ipCommand(this.#net, command);
      this.#core.exit();
      if (result.code !== 0) throw new ScriptError(1, `ip ${command}: ${result.stderr}`);
    }
    this.#core.enter();
    const result = setDefaults(this.#shell);
    this.#core.exit();
    if (result.code !== 0) throw new ScriptError(1, result.stderr);
    this.#core.run();
  }

  #command(text: string, line: number): void {
    const result = this.#shell.run(text);
    if (result.code !== 0)
      throw new ScriptError(line, `command failed (${result.code}): ${text.trim()}\n${result.stderr.trim()}`);
  }

  // ---- time ----

  get #now(): number {
    return this.#clock.time - this.#start;
  }

  /** Runs everything that is due at this moment. */
  #drain(): void {
    do this.#core.run();
    while (this.#core.nextDeadline() <= this.#clock.time);
  }

  /** Lets a call that was woken go on, to its end or to its next wait. */
  async #settle(): Promise<void> {
    if (this.#pending === null) return;
    for (let i = 0; i < 40; i++) await Promise.resolve();
    this.#drain();
    for (let i = 0; i < 40; i++) await Promise.resolve();
  }

  /** To the next thing that is due, not past `until` (script time). False when there is nothing before that. */
  async #step(until: number): Promise<boolean> {
    const due = this.#core.nextDeadline();
    if (due - this.#start > until) return false;
    if (due > this.#clock.time) this.#clock.time = due;
    this.#drain();
    await this.#settle();
    return true;
  }

  async #advanceTo(time: number): Promise<void> {
    while (await this.#step(time));
    if (time > this.#now) this.#clock.time = this.#start + time;
    this.#drain();
    await this.#settle();
  }

  #tolerance(time: number, last: number | null): number {
    const dynamic = last === null ? 0 : (this.#config.tolerancePercent / 100) * (time - last);
    return Math.max(this.#config.toleranceUs, dynamic);
  }

  #verifyTime(what: string, actual: number): void {
    const e = this.#event;
    if (e.timeType === "any") return;
    const tolerance = this.#tolerance(this.#time, this.#last?.time ?? null);
    const end = e.timeType.endsWith("range") ? this.#timeEnd : this.#time;
    if (actual >= this.#time - tolerance && actual <= end + tolerance) return;
    const wanted = end === this.#time ? seconds(this.#time) : `${seconds(this.#time)}~${seconds(end)}`;
    throw new ScriptError(
      e.line,
      `${what} at the wrong time\nexpected: ${wanted} (tolerance ${seconds(tolerance)})\nseen:     ${seconds(actual)}\n` +
        `script:   ${e.source}`,
    );
  }

  /** Relative times count from now; between two inbound packets, from when the first was due. */
  #begin(e: ScriptEvent): void {
    this.#event = e;
    const relative = e.timeType === "any" || e.timeType === "relative" || e.timeType === "relative-range";
    this.#offset = 0;
    if (relative) {
      const anchored = this.#last !== null && isInbound(this.#last.event.action) && isInbound(e.action);
      this.#offset = anchored ? (this.#last?.time ?? 0) : this.#now;
    }
    this.#time = e.time + this.#offset;
    this.#timeEnd = e.timeEnd + this.#offset;
  }

  // ---- events ----

  async run(): Promise<void> {
    const { events, init } = this.#script;
    const first = events[0] as ScriptEvent;
    if (first.timeType === "any" || first.time !== 0)
      throw new ScriptError(first.line, "the first event should be at time 0");
    if (init !== null) this.#command(init.command, init.line);
    // A script that has said nothing of the qdisc has the usual one.
    this.#shell.run("tc qdisc add dev tun0 root pfifo");
    this.#clock.time = Math.ceil(this.#clock.time / 1000) * 1000 + JIFFY_OFFSET_US;
    this.#start = this.#clock.time;
    this.#drain();
    for (const e of events) {
      this.#begin(e);
      const last = this.#last;
      if (last !== null && last.event.timeType === "absolute" && e.timeType === "absolute" && this.#time < last.time)
        throw new ScriptError(e.line, "time goes backwards");
      await this.#runEvent(e);
      this.#last = { event: e, time: this.#time };
      this.#checkPending();
    }
    await this.#waitPending(1_000_000);
    if (this.#pending !== null)
      throw new ScriptError(this.#pending.event.line, "the call is still blocked at the script's end");
    this.#runCode();
    const { cleanup } = this.#script;
    if (cleanup !== null) this.#command(cleanup.command, cleanup.line);
  }

  async #runEvent(e: ScriptEvent): Promise<void> {
    const { action } = e;
    if (action.kind === "packet") {
      const sock = this.#socketForPacket(action);
      if (action.out) return this.#expectPacket(action, sock);
      await this.#waitForEvent("inbound packet");
      this.#inject(action, sock);
      this.#drain();
      return this.#settle();
    }
    await this.#waitForEvent(action.kind);
    switch (action.kind) {
      case "command":
        this.#command(action.command, e.line);
        this.#drain();
        return this.#settle();
      case "code":
        this.#code.push({ text: action.text, line: e.line, info: this.#tcpInfo() });
        return;
      case "syscall":
        return this.#syscall(e);
    }
  }

  async #waitForEvent(what: string): Promise<void> {
    await this.#advanceTo(this.#time);
    await this.#advanceTo(this.#now + EVENT_COST_US);
    if (this.#last !== null) this.#verifyTime(what, this.#now);
  }

  async #syscall(e: ScriptEvent): Promise<void> {
    if (e.action.kind !== "syscall") return;
    const { call } = e.action;
    await this.#waitPending(1_000_000);
    const blocking = call.end !== null;
    if (blocking && this.#pending !== null)
      throw new ScriptError(e.line, `${call.name}: another call is still blocked (line ${this.#pending.event.line})`);
    const pending: Pending = {
      event: e,
      end: (call.end ?? 0) + (e.timeType === "relative" ? this.#offset : 0),
      done: false,
      error: null,
      finished: 0,
    };
    const other = this.#pending;
    this.#pending = pending;
    runSyscall(this.#context, call, e.line).then(
      () => {
        pending.done = true;
        pending.finished = this.#now;
      },
      (error: unknown) => {
        pending.error = error;
        pending.done = true;
        pending.finished = this.#now;
      },
    );
    await this.#settle();
    this.#drain();
    if (blocking) return;
    // The script says that it does not block: nothing else happens until it has returned.
    const limit = this.#now + CALL_US;
    while (!pending.done && (await this.#step(limit)));
    this.#pending = other;
    if (!pending.done) throw new ScriptError(e.line, `${call.name}: blocks\nscript:   ${e.source}`);
    if (pending.error !== null) throw withSource(pending.error, e);
    this.#drain();
  }

  /** The end of a call that blocks: what it returned, and when. */
  #checkPending(): void {
    const p = this.#pending;
    if (p === null || !p.done) return;
    this.#pending = null;
    if (p.error !== null) throw withSource(p.error, p.event);
    const call = p.event.action.kind === "syscall" ? p.event.action.call : null;
    if (call === null || call.end === null) return;
    const began = p.end - call.end + p.event.time;
    const tolerance = this.#tolerance(p.end, began);
    if (Math.abs(p.finished - p.end) > tolerance) {
      throw new ScriptError(
        p.event.line,
        `${call.name}: returned at the wrong time\nexpected: ${seconds(p.end)} (tolerance ${seconds(tolerance)})\n` +
          `seen:     ${seconds(p.finished)}\nscript:   ${p.event.source}`,
      );
    }
  }

  async #waitPending(us: number): Promise<void> {
    this.#checkPending();
    const limit = this.#now + us;
    while (this.#pending !== null && (await this.#step(limit))) this.#checkPending();
  }

  // ---- sockets ----

  #socketOf(scriptFd: number): TestSocket | null {
    for (let i = this.#sockets.length - 1; i >= 0; i--) {
      const s = this.#sockets[i] as TestSocket;
      if (s.scriptFd === scriptFd) return s;
    }
    return null;
  }

  #onConnect(scriptFd: number, disconnect: boolean): void {
    const s = this.#socketOf(scriptFd);
    if (s === null) return;
    if (disconnect) {
      s.state = "new";
      return;
    }
    if (s.state !== "new") return;
    s.state = "connecting";
    s.localPort = 0;
    s.remotePort = SERVER_PORT;
  }

  #socketForPacket(action: Action & { kind: "packet" }): TestSocket {
    const { packet, out } = action;
    const { tcp } = packet;
    let s = this.#current;
    if (tcp !== null) {
      if (!out && (s === null || s.state === "listening")) {
        s = new TestSocket();
        s.state = "syn-received";
        s.localPort = SERVER_PORT;
        s.remotePort = this.#ephemeral++;
        s.remoteIsn = tcp.seq;
        this.#sockets.push(s);
        this.#current = s;
      } else if (out && s !== null && s.state === "connecting" && (tcp.flags & (TCP_SYN | TCP_ACK)) === TCP_SYN) {
        s.state = "syn-sent";
        s.scriptLocalIsn = tcp.seq;
      }
    }
    if (s === null) throw new ScriptError(this.#event.line, "there is no socket that the packet could belong to");
    return s;
  }

  #inject(action: Action & { kind: "packet" }, s: TestSocket): void {
    const { packet, tuple } = action;
    const { localIp, remoteIp } = this.#config;
    const { tcp, udp, icmp } = packet;
    const sport = tuple !== null && tuple[0] !== 0 ? tuple[0] : s.remotePort;
    const dport = tuple !== null && tuple[1] !== 0 ? tuple[1] : s.localPort;
    const live: Packet = { ...packet };
    if (tcp !== null) {
      if (s.state === "synack-sent" && (tcp.flags & TCP_ACK) !== 0) s.state = "acked";
      else if (s.state === "syn-sent" && (tcp.flags & (TCP_SYN | TCP_ACK)) === (TCP_SYN | TCP_ACK)) {
        s.state = "connected";
        s.remoteIsn = tcp.seq;
      }
      live.tcp = this.#toLive(s, tcp, sport, dport);
    } else if (udp !== null) live.udp = { sport, dport };
    let bytes = encodePacket(live, remoteIp, localIp);
    if (icmp?.echoed != null) {
      const echoed = { ...icmp.echoed };
      if (echoed.protocol === "tcp") echoed.seq = (echoed.seq + s.liveLocalIsn) >>> 0;
      bytes = withPayload(live, encodeEchoed(echoed, localIp, remoteIp, s.localPort, s.remotePort), remoteIp, localIp);
    }
    const err = this.#device.inject(bytes, this.#config.mss);
    if (err < 0) throw new ScriptError(this.#event.line, `the device did not take the packet: ${err}`);
  }

  #toLive(s: TestSocket, tcp: TcpPart, sport: number, dport: number): TcpPart {
    const syn = (tcp.flags & TCP_SYN) !== 0;
    const remote = syn ? 0 : s.remoteIsn;
    const local = syn ? s.liveLocalIsn - s.scriptLocalIsn : s.liveLocalIsn;
    const ack = (tcp.flags & TCP_ACK) !== 0;
    const options = (tcp.options ?? []).map((o): TcpOption => {
      if (o.kind === "sack") return { ...o, blocks: o.blocks.map(([l, r]) => [(l + local) >>> 0, (r + local) >>> 0]) };
      if (o.kind === "TS" && ack) return { ...o, ecr: this.#liveEcr(s, o.ecr) };
      return o;
    });
    return {
      ...tcp,
      sport,
      dport,
      seq: (tcp.seq + remote) >>> 0,
      ack: ack ? (tcp.ack + local) >>> 0 : tcp.ack,
      options,
    };
  }

  #liveEcr(s: TestSocket, ecr: number): number {
    const live = s.tsVal.get(ecr);
    if (live !== undefined) return live;
    if (this.#config.tsEcrScaled && s.firstTs !== null) return (ecr - s.firstTs.script + s.firstTs.live) >>> 0;
    throw new ScriptError(this.#event.line, `TS ecr ${ecr}: no packet with this TS val was expected before`);
  }

  // ---- outbound packets ----

  /** The socket's next packet, or null when none comes in time. What other flows send is passed over. */
  async #sniff(s: TestSocket): Promise<{ packet: Packet; time: number } | null> {
    const any = this.#event.timeType === "any";
    const limit = any ? this.#now + ANY_TIME_US : Math.max(this.#time, this.#timeEnd, this.#now) + PATIENCE_US;
    for (;;) {
      for (let raw = this.#device.sent.shift(); raw !== undefined; raw = this.#device.sent.shift()) {
        const packet = this.#match(s, raw);
        if (packet !== null) return { packet, time: raw.time - this.#start };
      }
      if (!(await this.#step(limit))) return null;
      this.#checkPending();
    }
  }

  #match(s: TestSocket, raw: Sniffed): Packet | null {
    const p = decodePacket(raw.bytes);
    if (p === null || p.saddr !== this.#config.localIp || p.daddr !== this.#config.remoteIp) return null;
    const ports = p.tcp ?? p.udp;
    if (ports === null) return s.protocol === 1 ? p : null;
    if (s.protocol !== (p.tcp !== null ? 6 : 17) || ports.dport !== s.remotePort) return null;
    if (s.localPort !== 0) return ports.sport === s.localPort ? p : null;
    // A connect() that has not been seen yet names the local port.
    const syn = p.tcp === null || (p.tcp.flags & (TCP_SYN | TCP_ACK)) === TCP_SYN;
    if (!syn || (s.state !== "syn-sent" && s.state !== "connecting") || this.#isFlowOfAnother(s, ports.sport))
      return null;
    s.localPort = ports.sport;
    if (p.tcp !== null) s.liveLocalIsn = p.tcp.seq;
    return p;
  }

  /** The port is that of a connection that the script has made before and not closed. */
  #isFlowOfAnother(s: TestSocket, localPort: number): boolean {
    return this.#sockets.some(
      (o) => o !== s && o.localPort === localPort && o.scriptFd >= 0 && this.#context.fds.get(o.scriptFd) === o.liveFd,
    );
  }

  async #expectPacket(action: Action & { kind: "packet" }, s: TestSocket): Promise<void> {
    const wanted = action.packet;
    const synack = s.state === "syn-received" && isSynAck(wanted.tcp);
    if (synack) s.scriptLocalIsn = (wanted.tcp as TcpPart).seq;
    let merged: Packet | null = null;
    let part: Packet | null = null;
    let time = 0;
    do {
      const sniffed = await this.#sniff(s);
      if (sniffed === null) this.#mismatch("no packet came", wanted, merged, time);
      const p = sniffed.packet;
      time = sniffed.time;
      if (p.tcp !== null) {
        if (synack && isSynAck(p.tcp) && s.state === "syn-received") {
          s.state = "synack-sent";
          s.liveLocalIsn = p.tcp.seq;
        }
        this.#toScript(s, p.tcp);
      }
      if (merged === null || part === null) merged = { ...p };
      else {
        const what = this.#cannotMerge(part, p, wanted.len - merged.len);
        if (what !== null) this.#mismatch(`${what} of a further segment`, wanted, { ...p }, time);
        merged = mergePackets(merged, p);
      }
      part = p;
    } while (merged.len < wanted.len && !this.#config.strict);
    this.#compare(action, s, merged, time);
    this.#verifyTime("outbound packet", time);
  }

  /** Sequence numbers from the wire's to the script's, in place. */
  #toScript(s: TestSocket, tcp: TcpPart): void {
    const syn = (tcp.flags & TCP_SYN) !== 0;
    const local = syn ? s.liveLocalIsn - s.scriptLocalIsn : s.liveLocalIsn;
    const remote = syn ? 0 : s.remoteIsn;
    tcp.seq = (tcp.seq - local) >>> 0;
    if ((tcp.flags & TCP_ACK) !== 0) tcp.ack = (tcp.ack - remote) >>> 0;
    for (const o of tcp.options ?? []) {
      if (o.kind === "sack") o.blocks = o.blocks.map(([l, r]) => [(l - remote) >>> 0, (r - remote) >>> 0]);
    }
  }

  /** Segments of one send go together: same headers, one after the other, all but the last of one size. */
  #cannotMerge(a: Packet, b: Packet, left: number): string | null {
    if (a.tcp === null || b.tcp === null) return "protocol";
    const flags = TCP_SYN | TCP_RST | TCP_ACK | TCP_URG | TCP_ECE | TCP_AE;
    if ((a.tcp.flags & flags) !== (b.tcp.flags & flags)) return "flags";
    if (b.tcp.seq !== (a.tcp.seq + a.len) >>> 0) return "sequence number";
    if (a.tcp.ack !== b.tcp.ack) return "ack";
    if (a.tcp.win !== b.tcp.win) return "window";
    if (a.tcp.urg !== b.tcp.urg) return "urgent pointer";
    if (a.ip.tos !== b.ip.tos) return "tos";
    if (a.tcp.options?.length !== b.tcp.options?.length) return "options";
    if (b.len < left && b.len !== a.len) return "size";
    return null;
  }

  #mismatch(what: string, wanted: Packet, seen: Packet | null, time: number): never {
    const line = seen === null ? "nothing" : `${formatPacket(seen)}  (at ${seconds(time)})`;
    throw new ScriptError(
      this.#event.line,
      `${what}\nexpected: ${formatPacket(wanted)}  (at ${seconds(this.#time)})\nseen:     ${line}`,
    );
  }

  #compare(action: Action & { kind: "packet" }, s: TestSocket, seen: Packet, time: number): void {
    const wanted = action.packet;
    const shown: Packet = { ...seen, ip: { ...seen.ip, check: wanted.ip.check === "none" ? "none" : "tos" } };
    const check = (what: string, ok: boolean): void => {
      if (!ok) this.#mismatch(`wrong ${what}`, wanted, shown, time);
    };
    const { check: ipCheck } = wanted.ip;
    if (ipCheck === "tos") check("tos", seen.ip.tos === wanted.ip.tos);
    else if (ipCheck === "ecn") check("ECN bits", (seen.ip.tos & 3) === wanted.ip.tos);
    else if (ipCheck === "ect01") check("ECN bits", (seen.ip.tos & 3) === 1 || (seen.ip.tos & 3) === 2);
    check("headers in front", formatOuter(wanted.outer) === formatOuter(seen.outer));
    if (wanted.ip.ttl !== 0) check("ttl", seen.ip.ttl === wanted.ip.ttl);
    shown.ip.ttl = wanted.ip.ttl === 0 ? 0 : seen.ip.ttl;
    if (wanted.icmp !== null) {
      check("protocol", seen.icmp !== null);
      check("ICMP type", seen.icmp?.type === wanted.icmp.type);
      check("ICMP code", seen.icmp?.code === wanted.icmp.code);
      return;
    }
    check("protocol", (seen.tcp === null) === (wanted.tcp === null));
    const ports = seen.tcp ?? seen.udp;
    if (action.tuple !== null && ports !== null) {
      const [sport, dport] = action.tuple;
      check("source port", sport === 0 || ports.sport === sport);
      check("destination port", dport === 0 || ports.dport === dport);
    }
    if (wanted.tcp !== null && seen.tcp !== null) this.#compareTcp(s, wanted, wanted.tcp, shown, seen.tcp, time);
    check("payload size", seen.len === wanted.len);
    check("payload (not all bytes are 0)", seen.zero);
  }

  #compareTcp(s: TestSocket, wanted: Packet, w: TcpPart, shown: Packet, t: TcpPart, time: number): void {
    const check = (what: string, ok: boolean): void => {
      if (!ok) this.#mismatch(`wrong ${what}`, wanted, shown, time);
    };
    const script = w.options?.find((o) => o.kind === "TS");
    const live = t.options?.find((o) => o.kind === "TS");
    let tsDrift = 0;
    if (script?.kind === "TS" && live?.kind === "TS") {
      s.tsVal.set(script.val, live.val);
      s.firstTs ??= { script: script.val, live: live.val };
      live.val = (s.firstTs.script + (live.val - s.firstTs.live)) >>> 0;
      tsDrift = Math.abs((live.val - script.val) | 0);
    }
    for (const [name, bit] of FLAG_NAMES) check(`${name} flag`, (w.flags & bit) === (t.flags & bit));
    if (w.ace) check("ACE field", aceOf(w.flags) === aceOf(t.flags));
    else for (const [name, bit] of ECN_FLAGS) check(`${name} flag`, (w.flags & bit) === (t.flags & bit));
    check("sequence number", w.seq === t.seq);
    check("ack", w.ack === t.ack);
    if (w.win >= 0) check("window", w.win === t.win);
    check("urgent pointer", w.urg === t.urg);
    if (w.options === null) return;
    const same = w.options.length === t.options?.length && w.options.every((o, i) => sameOption(o, t.options?.[i]));
    check("options", same);
    // The clock of time stamps is judged from the script's start, not from the event before.
    const tolerance = Math.max(this.#config.toleranceUs, (this.#config.tolerancePercent / 100) * this.#time);
    check("TS val", this.#config.tsTickUs === 0 || tsDrift * this.#config.tsTickUs <= tolerance);
  }

  // ---- code ----

  /** What code sees of the socket: TCP_INFO's fields, and SO_MEMINFO's. */
  #tcpInfo(): Readonly<Record<string, number>> | null {
    const s = this.#current;
    if (s === null || s.liveFd < 0 || s.protocol !== 6) return null;
    const err = new ErrBox();
    const info = sysGetsockopt(this.#net, s.liveFd, SOL_TCP, TCP_INFO, err);
    if (err.value < 0) return null;
    const vars: Record<string, number> = {};
    for (const [key, value] of Object.entries(info as unknown as Record<string, number>)) {
      vars[`tcpi_${key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)}`] = value;
    }
    // What the congestion control tells of itself: bbr_min_rtt, dctcp_alpha ...
    const cc = sysGetsockopt(this.#net, s.liveFd, SOL_TCP, TCP_CC_INFO, err) as Record<string, number | string>;
    for (const [key, value] of Object.entries(cc)) {
      if (typeof value === "number") vars[key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)] = value;
    }
    if (vars["bbr_bw_lo"] !== undefined) vars["bbr_bw"] = vars["bbr_bw_lo"] + (vars["bbr_bw_hi"] as number) * 2 ** 32;
    const mem = sysGetsockopt(this.#net, s.liveFd, SOL_SOCKET, SO_MEMINFO, err) as number[];
    for (let i = 0; i < SK_MEMINFO.length; i++) vars[`SK_MEMINFO_${SK_MEMINFO[i]}`] = mem[i] as number;
    return vars;
  }

  #runCode(): void {
    const runner = new CodeRunner();
    for (const [name, value] of codeSymbols()) runner.vars.set(name, value);
    for (const { text, line, info } of this.#code) {
      if (info !== null) {
        for (const name of Object.keys(info)) runner.vars.set(name, info[name] as number);
      }
      runner.run(text, line);
    }
  }
}

/** SK_MEMINFO_*, in order. */
const SK_MEMINFO: readonly string[] = [
  "RMEM_ALLOC",
  "RCVBUF",
  "WMEM_ALLOC",
  "SNDBUF",
  "FWD_ALLOC",
  "WMEM_QUEUED",
  "OPTMEM",
  "BACKLOG",
  "DROPS",
];
const FLAG_NAMES: readonly (readonly [string, number])[] = [
  ["SYN", TCP_SYN],
  ["FIN", TCP_FIN],
  ["RST", TCP_RST],
  ["PSH", TCP_PSH],
  ["ACK", TCP_ACK],
  ["URG", TCP_URG],
];
const ECN_FLAGS: readonly (readonly [string, number])[] = [
  ["ECE", TCP_ECE],
  ["CWR", TCP_CWR],
  ["AE", TCP_AE],
];

function isInbound(a: Action): boolean {
  return a.kind === "packet" && !a.out;
}

function isSynAck(tcp: TcpPart | null): boolean {
  return tcp !== null && (tcp.flags & (TCP_SYN | TCP_ACK)) === (TCP_SYN | TCP_ACK);
}

/** TS is compared apart: its echo is not, its value only with a clock. */
function sameOption(a: TcpOption, b: TcpOption | undefined): boolean {
  if (b === undefined || a.kind !== b.kind) return false;
  return a.kind === "TS" || JSON.stringify(a) === JSON.stringify(b);
}

/** Flags of the last segment, but CWR and the sequence number of the first. */
function mergePackets(first: Packet, last: Packet): Packet {
  const [a, b] = [first.tcp as TcpPart, last.tcp as TcpPart];
  const flags = (b.flags & ~TCP_CWR) | (a.flags & TCP_CWR);
  return { ...last, tcp: { ...b, seq: a.seq, flags }, len: first.len + last.len, zero: first.zero && last.zero };
}

/** An ICMP error with the datagram that it is about. */
function withPayload(p: Packet, data: Uint8Array, saddr: number, daddr: number): Uint8Array {
  const bytes = encodePacket({ ...p, len: data.length }, saddr, daddr);
  bytes.set(data, bytes.length - data.length);
  bytes[22] = 0;
  bytes[23] = 0;
  let sum = 0;
  for (let i = 20; i < bytes.length; i += 2) sum += ((bytes[i] as number) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  bytes[22] = (~sum >>> 8) & 255;
  bytes[23] = ~sum & 255;
  return bytes;
}

function withSource(error: unknown, e: ScriptEvent): unknown {
  return error instanceof ScriptError ? new ScriptError(error.line, `${error.message}\nscript:   ${e.source}`) : error;
}

function seconds(us: number): string {
  return (us / 1e6).toFixed(6);
}

function dotted(addr: number): string {
  return [addr >>> 24, (addr >>> 16) & 255, (addr >>> 8) & 255, addr & 255].join(".");
}

function configOf(script: Script): Config {
  const config: Config = {
    localIp: inetAton("192.168.0.1"),
    remoteIp: inetAton("192.0.2.1"),
    toleranceUs: 4000,
    tolerancePercent: 12.5,
    tsTickUs: 0,
    tsEcrScaled: false,
    strict: false,
    mss: 0,
  };
  for (const { name, value, line } of script.options) {
    const fail = (): never => {
      throw new ScriptError(line, `--${name}${value === null ? "" : `=${value}`}: not understood`);
    };
    const num = (): number => (value !== null && /^\d+(?:\.\d+)?$/.test(value) ? Number(value) : fail());
    const ip = (): number => {
      const addr = value === null ? -1 : inetAton(value);
      return addr < 0 ? fail() : addr;
    };
    if (name === "local_ip") config.localIp = ip();
    else if (name === "remote_ip") config.remoteIp = ip();
    else if (name === "tolerance_usecs") config.toleranceUs = num();
    else if (name === "tolerance_percent") config.tolerancePercent = num();
    else if (name === "tcp_ts_tick_usecs") config.tsTickUs = num();
    else if (name === "mss") config.mss = num();
    else if (name === "strict_segments" && value === null) config.strict = true;
    else if (name === "tcp_ts_ecr_scaled" && value === null) config.tsEcrScaled = true;
    // Buffers outlive every call here anyway: a zero-copy send may refer to them as long as it likes.
    else if (name === "send_omit_free" && value === null) continue;
    else if (name === "ip_version" && value !== "ipv4")
      throw new ScriptError(line, `IP version ${value} is not supported`);
    else if (name !== "ip_version" && name !== "define") fail();
  }
  return config;
}
