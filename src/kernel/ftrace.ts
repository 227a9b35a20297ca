/**
 * The function_graph tracer: which function called which, with what, through which function pointer, and who had set
 * that pointer. The sources know nothing of it: the build puts a hook at the entry of every kernel function
 * (scripts/instrument.mjs), which comes here. Like the kernel's ftrace it costs nothing measurable while it is off.
 * (Once it has been on, V8's compiled code keeps the branch to it: a bulk transfer was then about a tenth slower until
 * the process ended. Don't trace in a process whose throughput is being measured.)
 *
 * This file must stay a leaf among the modules that are traced: it imports none of them, so that it is there, however
 * their imports are tangled, before the first of them runs.
 */

import { dropReasonByName, dropReasonName, SKB_CONSUMED } from "../uapi/dropreason.ts";
import { errnoName } from "../uapi/errno.ts";
import { type CallSite, notePointer, type PointerAccess, type PointerNote } from "./ftrace_pointers.ts";
import { camelName, kernelName } from "./names.ts";

/** What to record. Conditions that are given have to hold together; a call that meets them is recorded with all it calls. */
export interface TraceOptions {
  /** "next": the call tree of the next send-like system call, once. A number: whatever handles this skb or a clone of it. */
  skb?: "next" | number | undefined;
  /** With `skb: "next"`: go on, after the call has returned, with whatever handles the skbs that were seen in it. */
  follow?: boolean | undefined;
  /** Only calls of these functions (the kernel's names or ours) and what they call. */
  function?: string | readonly string[] | undefined;
  /** Only calls on this socket: a `Sock`, or a `Socket` that has one. */
  sk?: object | undefined;
  /** Only call trees in which an skb was dropped for this reason (number or name), or for any reason (true). */
  dropReason?: number | string | true | undefined;
  /** Stop recording after so many events; 20,000 unless told. */
  maxEvents?: number | undefined;
}

/** What the tracer has to be told about the machine; it reads no clock and no memory itself. */
export interface TraceEnvironment extends PointerAccess {
  /** Microseconds. In virtual time every duration is zero. */
  clock?: (() => number) | undefined;
  /** The serial number of an skb: handles are used again, serial numbers are not. */
  skbId?: ((skb: number) => number) | undefined;
}

export interface TraceArg {
  readonly name: string;
  /** Numbers, strings and booleans as they are; objects as a short text ("sk#1", "eth0", "tcp_prot"). */
  readonly value: number | string | boolean | null;
}

/** One call. */
export interface TraceEvent {
  /** 0 = the root of a tree. */
  readonly depth: number;
  /** Our name. */
  readonly name: string;
  /** The kernel's name. */
  readonly kernel: string;
  /** Our source, below src/. */
  readonly file: string;
  readonly line: number;
  readonly args: readonly TraceArg[];
  /** Handle and serial number of the skb among the arguments. */
  readonly skb?: number;
  readonly skbId?: number;
  /** Microseconds of the kernel's clock. */
  readonly start: number;
  duration: number;
  /** The return value, in the form of TraceArg; absent if the function returned nothing. */
  returned?: number | string | boolean | null;
  /** The function threw. */
  threw?: true;
  /** The function pointer that was called through. */
  readonly pointer?: PointerNote;
  /** The name of the drop reason, if this call drops an skb. */
  readonly drop?: string;
}

/** The system calls that `skb: "next"` waits for. */
const SEND_CALLS: ReadonlySet<string> = new Set(
  ["", "__"].flatMap((prefix) =>
    ["Send", "Sendto", "Sendmsg", "Sendmmsg", "Write", "Writev", "Sendfile"].map((call) => `${prefix}sys${call}`),
  ),
);
const CLONES: ReadonlySet<string> = new Set([
  "skbClone",
  "skbCopy",
  "pskbCopy",
  "__pskbCopy",
  "skbCopyExpand",
  "skbShareCheck",
]);
const DROPS: ReadonlySet<string> = new Set([
  "kfreeSkbReason",
  "skSkbReasonDrop",
  "kfreeSkbListReason",
  "tcpDropReason",
]);
const SKB_PARAMETER = /^(?:[no]?skb\d*|buff)$/;
const DEFAULT_MAX_EVENTS = 20_000;

type AnyFunction = (...args: unknown[]) => unknown;

interface Frame {
  readonly site: Site;
  readonly event: TraceEvent | null;
}

/** Labels of objects without a name of their own, counted anew in every trace: the same run gives the same text. */
let labels: WeakMap<object, string> = new WeakMap();
let labelCounts: Map<string, number> = new Map();

/** "sk#1": what the first parameter that held it is called, and a number. */
function labelOf(name: string, value: object): string {
  const known = labels.get(value);
  if (known !== undefined) return known;
  const type = value.constructor?.name ?? "object";
  const kind = name === "" ? kernelName(type.charAt(0).toLowerCase() + type.slice(1)) : kernelName(name);
  const count = (labelCounts.get(kind) ?? 0) + 1;
  labelCounts.set(kind, count);
  const label = `${kind}#${count}`;
  labels.set(value, label);
  return label;
}

function dottedQuad(addr: number): string {
  return `${addr >>> 24}.${(addr >>> 16) & 255}.${(addr >>> 8) & 255}.${addr & 255}`;
}

/** A short text for an argument: what it is called is known by the parameter's name, as everywhere in the kernel. */
function describe(name: string, value: unknown): number | string | boolean | null {
  if (value === null || value === undefined) return null;
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "function") return kernelName(value.name);
  if (typeof value !== "object") return (value as symbol | bigint).toString();
  const object = value as Record<string, unknown>;
  if (typeof object["symbol"] === "string") return object["symbol"];
  if (typeof object["name"] === "string" && object["name"] !== "") return object["name"];
  if (name === "neigh" && typeof object["primaryKey"] === "number") return dottedQuad(object["primaryKey"]);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  return labelOf(name, value);
}

class Session {
  readonly events: TraceEvent[] = [];
  readonly stack: Frame[] = [];
  /** Length of the stack at the root of the tree that is being recorded; -1 = none is. */
  root = -1;
  done = false;
  truncated = false;
  readonly #environment: TraceEnvironment;
  readonly #functions: ReadonlySet<string> | null;
  readonly #next: boolean;
  readonly #follow: boolean;
  readonly #byHandle: boolean;
  readonly #sk: object | null;
  readonly #drop: number | true | null;
  readonly #maxEvents: number;
  /** The skbs that are followed: handle -> serial number. */
  readonly #tracked: Map<number, number> = new Map();
  #rootEvents = 0;
  #rootDropped = false;
  #nextDone = false;

  constructor(options: TraceOptions, environment: TraceEnvironment) {
    labels = new WeakMap();
    labelCounts = new Map();
    this.#environment = environment;
    const { function: functions, skb, sk, dropReason } = options;
    const list = typeof functions === "string" ? [functions] : functions;
    this.#functions = list === undefined ? null : new Set(list.map(camelName));
    this.#next = skb === "next";
    this.#follow = this.#next && options.follow === true;
    this.#byHandle = typeof skb === "number";
    if (typeof skb === "number") this.#tracked.set(skb, this.#skbId(skb));
    this.#sk = sk === undefined ? null : ((sk as { sk?: object | null }).sk ?? sk);
    if (typeof dropReason === "string") {
      const reason = dropReasonByName(dropReason);
      if (reason === undefined) throw new RangeError(`there is no drop reason "${dropReason}"`);
      this.#drop = reason;
    } else this.#drop = dropReason ?? null;
    this.#maxEvents = options.maxEvents ?? DEFAULT_MAX_EVENTS;
  }

  #skbId(skb: number): number {
    return this.#environment.skbId?.(skb) ?? 0;
  }

  #now(): number {
    return this.#environment.clock?.() ?? 0;
  }

  #isTracked(skb: unknown): boolean {
    return typeof skb === "number" && skb !== 0 && this.#tracked.get(skb) === this.#skbId(skb);
  }

  #handlesTracked(site: CallSite): boolean {
    for (let i = 0; i < site.params.length; i++) {
      if (SKB_PARAMETER.test(site.params[i] ?? "") && this.#isTracked(site.args[i])) return true;
    }
    return false;
  }

  #matches(site: CallSite): boolean {
    if (this.#next) {
      if (this.#nextDone ? !this.#handlesTracked(site) : !SEND_CALLS.has(site.name)) return false;
    } else if (this.#byHandle && !this.#handlesTracked(site)) return false;
    if (this.#functions !== null && !this.#nextDone && !this.#functions.has(site.name)) return false;
    if (this.#sk !== null) {
      const sk = site.arg("sk") ?? (site.arg("sock") as { sk?: object } | undefined)?.sk;
      if (sk !== this.#sk) return false;
    }
    return true;
  }

  get top(): CallSite | undefined {
    return this.stack.length > 0 ? this.stack[this.stack.length - 1]?.site : undefined;
  }

  enter(site: Site): Frame {
    let event: TraceEvent | null = null;
    if (this.root < 0 && !this.truncated && !this.done && this.#matches(site)) {
      this.root = this.stack.length;
      this.#rootEvents = this.events.length;
      this.#rootDropped = false;
    }
    if (this.root >= 0) event = this.#record(site);
    const frame: Frame = { site, event };
    this.stack.push(frame);
    return frame;
  }

  #record(site: Site): TraceEvent | null {
    if (this.events.length >= this.#maxEvents) {
      this.truncated = true;
      return null;
    }
    const args: TraceArg[] = [];
    let skb: number | undefined;
    for (let i = 0; i < site.params.length; i++) {
      const name = site.params[i] ?? "";
      const value = site.args[i];
      args.push({ name: kernelName(name), value: describe(name, value) });
      if (SKB_PARAMETER.test(name) && typeof value === "number" && value !== 0) {
        skb ??= value;
        if (this.#follow) this.#tracked.set(value, this.#skbId(value));
      }
    }
    let drop: string | undefined;
    if (DROPS.has(site.name)) {
      const reason = site.arg("reason");
      if (typeof reason === "number" && reason > SKB_CONSUMED) {
        drop = dropReasonName(reason);
        if (this.#drop === true || this.#drop === reason) this.#rootDropped = true;
      }
    }
    const { caller } = site;
    const pointer = caller === undefined ? undefined : notePointer(caller, site, this.#environment);
    const event: TraceEvent = {
      depth: this.stack.length - this.root,
      name: site.name,
      kernel: kernelName(site.name),
      file: site.file,
      line: site.line,
      args,
      ...(skb === undefined ? {} : { skb, skbId: this.#skbId(skb) }),
      start: this.#now(),
      duration: 0,
      ...(pointer === undefined ? {} : { pointer }),
      ...(drop === undefined ? {} : { drop }),
    };
    this.events.push(event);
    return event;
  }

  leave(frame: Frame, returned: unknown, threw: boolean): void {
    // What is above the frame was left behind by a throw.
    const at = this.stack.lastIndexOf(frame);
    if (at >= 0) this.stack.length = at;
    const { event, site } = frame;
    if (event !== null) {
      event.duration = this.#now() - event.start;
      if (threw) event.threw = true;
      else if (returned !== undefined) event.returned = describe("", returned);
    }
    if (CLONES.has(site.name) && typeof returned === "number" && returned !== 0 && this.#isTracked(site.args[0])) {
      this.#tracked.set(returned, this.#skbId(returned));
    }
    if (at !== this.root) return;
    this.root = -1;
    if (this.#drop !== null && !this.#rootDropped) {
      this.events.length = this.#rootEvents;
      this.truncated = false;
    } else if (this.#next) {
      this.#nextDone = true;
      if (!this.#follow) this.done = true;
    }
  }
}

/** What the build knows of a function: our name, its file below src/, its line, its parameters joined by commas. */
export type FunctionInfo = readonly [name: string, file: string, line: number, params: string];

/**
 * The hook that the build puts at the entry of every traced function calls this. With the function alone: whether the
 * call is to be recorded (no, if it is the tracer's own). With its arguments: records the call and makes it.
 */
export type TraceHook = (
  fn: AnyFunction,
  args?: unknown[],
  info?: (index: number) => FunctionInfo,
  index?: number,
  self?: unknown,
) => unknown;

declare global {
  /**
   * Read by every hook: null while the tracer is off. It is a property of the global object, and not an export, because
   * V8 compiles a global that has never changed as a constant: until the first trace a hook is no code at all, as ftrace's
   * call sites are no-ops until they are patched.
   */
  var __skbuffTrace: TraceHook | null;
}
globalThis.__skbuffTrace ??= null;

let session: Session | null = null;
/** The function that the tracer is about to call itself. */
let passing: AnyFunction | null = null;

function hook(
  fn: AnyFunction,
  args?: unknown[],
  info?: (index: number) => FunctionInfo,
  index?: number,
  self?: unknown,
): unknown {
  if (args === undefined || info === undefined || index === undefined) {
    if (passing !== fn) return true;
    passing = null;
    return false;
  }
  const mine = session;
  const frame = mine === null ? null : mine.enter(new Site(info(index), fn, args, mine.top));
  passing = fn;
  let returned: unknown;
  let threw = true;
  try {
    returned = fn.apply(self, args);
    threw = false;
  } finally {
    if (threw) passing = null;
    if (mine !== null && frame !== null && mine === session) {
      mine.leave(frame, returned, threw);
      if (mine.done) globalThis.__skbuffTrace = null;
    }
  }
  return returned;
}

class Ftrace {
  /** Begins to record; a trace that is running is thrown away. The tracer is one a process: it sees every kernel. */
  start(options: TraceOptions = {}, environment: TraceEnvironment = {}): void {
    session = new Session(options, environment);
    globalThis.__skbuffTrace = hook;
  }

  /** Ends recording and hands out what there is. */
  stop(): Trace {
    const trace = new Trace(session?.events ?? [], session?.truncated ?? false);
    globalThis.__skbuffTrace = null;
    passing = null;
    session = null;
    return trace;
  }

  /** True while something may still be recorded: with `skb: "next"`, until the system call has returned. */
  get recording(): boolean {
    return globalThis.__skbuffTrace !== null;
  }
}

class Site implements CallSite {
  readonly name: string;
  readonly file: string;
  readonly line: number;
  readonly params: readonly string[];
  readonly fn: AnyFunction;
  readonly args: readonly unknown[];
  readonly caller: CallSite | undefined;

  constructor(info: FunctionInfo, fn: AnyFunction, args: readonly unknown[], caller: CallSite | undefined) {
    this.name = info[0];
    this.file = info[1];
    this.line = info[2];
    this.params = namesOf(info[3]);
    this.fn = fn;
    this.args = args;
    this.caller = caller;
  }

  arg(name: string): unknown {
    const at = this.params.indexOf(name);
    return at < 0 ? undefined : this.args[at];
  }
}

const paramLists: Map<string, readonly string[]> = new Map();

function namesOf(params: string): readonly string[] {
  let names = paramLists.get(params);
  if (names === undefined) {
    names = params === "" ? [] : params.split(",");
    paramLists.set(params, names);
  }
  return names;
}

export interface TraceTextOptions {
  /** "objects" (unless told): skb, sk, dev and the like. "all": every argument. "none". */
  args?: "objects" | "all" | "none" | undefined;
  /** Durations; on unless told. They are zero in virtual time, and left out if all of them are. */
  duration?: boolean | undefined;
  /** The column with our sources; on unless told. */
  source?: boolean | undefined;
  /** The lines about function pointers; on unless told. */
  pointers?: boolean | undefined;
}

const SHOWN = /^(?:[no]?skb\d*|buff|sk|newsk|dev|neigh|dst|sock|hh|ops)$/;

/** A recorded trace: a forest of calls, in the order in which they began. */
export class Trace {
  readonly events: readonly TraceEvent[];
  /** True if there was more than `maxEvents`. */
  readonly truncated: boolean;

  constructor(events: readonly TraceEvent[], truncated = false) {
    this.events = events;
    this.truncated = truncated;
  }

  /** The kernel's names of the functions called, in order. */
  functions(): string[] {
    return this.events.map((event) => event.kernel);
  }

  /** The trees below the calls of `function` (the kernel's name or ours), of skb number `skbId`, or in which `drop` occurred. */
  filter(wanted: { function?: string; skbId?: number; drop?: string }): Trace {
    const name = wanted.function === undefined ? undefined : camelName(wanted.function);
    const kept: TraceEvent[] = [];
    for (let i = 0; i < this.events.length; ) {
      const event = this.events[i] as TraceEvent;
      let end = i + 1;
      while (end < this.events.length && (this.events[end] as TraceEvent).depth > event.depth) end++;
      const tree = this.events.slice(i, end);
      const fits =
        (name === undefined || event.name === name) &&
        (wanted.skbId === undefined || event.skbId === wanted.skbId) &&
        (wanted.drop === undefined || tree.some((one) => one.drop === wanted.drop));
      if (fits) {
        for (const one of tree) kept.push({ ...one, depth: one.depth - event.depth });
        i = end;
      } else i++;
    }
    return new Trace(kept, this.truncated);
  }

  /** The trace as function_graph prints it, with our source beside it. */
  toText(options: TraceTextOptions = {}): string {
    const withArgs = options.args ?? "objects";
    const withDuration = options.duration ?? this.events.some((event) => event.duration !== 0);
    const rows: [duration: string, text: string, source: string][] = [];
    const open: TraceEvent[] = [];
    const close = (depth: number): void => {
      while (open.length > depth) {
        const event = open.pop() as TraceEvent;
        rows.push([formatDuration(event.duration), `${indent(event.depth)}}${formatReturn(event, true)}`, ""]);
      }
    };
    for (let i = 0; i < this.events.length; i++) {
      const event = this.events[i] as TraceEvent;
      close(event.depth);
      const next = this.events[i + 1];
      const leaf = next === undefined || next.depth <= event.depth;
      if (event.depth === 0 && i > 0) rows.push(["", "", ""]);
      if (event.pointer !== undefined && options.pointers !== false) {
        rows.push(["", `${indent(event.depth)}/* ${formatPointer(event.pointer)} */`, ""]);
      }
      const head = `${indent(event.depth)}${event.kernel}(${formatArgs(event, withArgs)})`;
      const drop = event.drop === undefined ? "" : ` /* dropped: ${event.drop} */`;
      const text = leaf ? `${head};${formatReturn(event, false)}${drop}` : `${head} {${drop}`;
      rows.push([leaf ? formatDuration(event.duration) : "", text, `${event.file}:${event.line}`]);
      if (!leaf) open.push(event);
    }
    close(0);
    const width = Math.min(
      100,
      rows.reduce((most, [, text, source]) => Math.max(most, source === "" ? 0 : text.length), 20),
    );
    const left = withDuration ? (duration: string) => `${duration.padStart(13)}  |  ` : () => "";
    const lines = ["# tracer: function_graph", "#"];
    if (withDuration)
      lines.push(
        `#  DURATION       FUNCTION CALLS${options.source === false ? "" : " ".repeat(Math.max(1, width - 12)) + "SOURCE"}`,
      );
    else
      lines.push(`# FUNCTION CALLS${options.source === false ? "" : " ".repeat(Math.max(1, width - 14)) + "SOURCE"}`);
    for (const [duration, text, source] of rows) {
      if (text === "") lines.push("");
      else if (source === "" || options.source === false) lines.push(left(duration) + text);
      else lines.push(`${left(duration)}${text.padEnd(width)}  ${source}`);
    }
    if (this.truncated) lines.push("# (truncated: there was more than maxEvents)");
    return `${lines.join("\n")}\n`;
  }

  /** For programs: the events as plain values. */
  toJSON(): { version: 1; truncated: boolean; events: readonly TraceEvent[] } {
    return { version: 1, truncated: this.truncated, events: this.events };
  }
}

function indent(depth: number): string {
  return "  ".repeat(depth);
}

/** As the kernel does: three decimals, and a mark for what took long. */
function formatDuration(us: number): string {
  const mark = us > 1000 ? "# " : us > 100 ? "! " : us > 10 ? "+ " : "  ";
  return `${mark}${us.toFixed(3)} us`;
}

function formatArgs(event: TraceEvent, which: "objects" | "all" | "none"): string {
  if (which === "none") return "";
  const texts: string[] = [];
  for (const { name, value } of event.args) {
    if (which === "objects" && (!SHOWN.test(name) || (typeof value === "number" && !SKB_PARAMETER.test(name))))
      continue;
    if (SKB_PARAMETER.test(name) && value === event.skb)
      texts.push(`${name}=${event.skbId ? `#${event.skbId}` : hex(event.skb)}`);
    else texts.push(`${name}=${SKB_PARAMETER.test(name) && typeof value === "number" ? hex(value) : value}`);
  }
  return texts.join(", ");
}

function hex(value: number | undefined): string {
  return `0x${(value ?? 0).toString(16)}`;
}

function formatReturn(event: TraceEvent, closing: boolean): string {
  if (event.threw) return " /* threw */";
  const { returned } = event;
  const name = closing ? `${event.kernel} ` : "";
  if (returned === undefined || returned === null) return closing ? ` /* ${name.trim()} */` : "";
  const isErrno = typeof returned === "number" && returned < -1 && returned >= -530 && Number.isInteger(returned);
  return ` /* ${name}= ${isErrno ? `-${errnoName(returned)}` : returned} */`;
}

function formatPointer(note: PointerNote): string {
  const why = note.why === undefined ? "" : ` ${note.why}`;
  return `${note.pointer} = ${note.table}${note.setBy === "" ? "" : `, set by ${note.setBy}`}${why}`;
}

/** The tracer of this process. */
export const ftrace: Ftrace = new Ftrace();
