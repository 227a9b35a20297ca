/**
 * The kernel's function pointers, for the tracer: when a traced function was called through a pointer, which one that
 * was, which table it stands in, who put it there and why. That is what a reader of the kernel cannot find with a
 * full-text search, and the question that this project started from ("hh->hh_output: no clue").
 *
 * It works by identity: the caller's arguments lead to the objects (sock, sk, dst, neigh, dev ...) whose pointers it
 * may have called; if one of them is the very function that was entered, that is it. Pointers that change at run time
 * have a neighbour field that names their setter (`neigh.outputSetBy`).
 */

import { kernelName } from "./names.ts";

/** A call as the tracer's hook reports it. */
export interface CallSite {
  /** Our name. */
  readonly name: string;
  /** Our source, below src/. */
  readonly file: string;
  readonly params: readonly string[];
  readonly args: readonly unknown[];
  readonly fn: (...args: unknown[]) => unknown;
  /** Who called; undefined at the bottom of the stack. */
  readonly caller: CallSite | undefined;
  /** The argument of a parameter's name. */
  arg(name: string): unknown;
}

export interface PointerNote {
  /** The expression that was called: "sock->ops->sendmsg". */
  readonly pointer: string;
  /** What it holds: "inet_stream_ops.sendmsg", or the function's name where there is no table. */
  readonly table: string;
  /** The kernel function that set it; "" = it stands in the source. */
  readonly setBy: string;
  /** From what, or when: "from inetsw[SOCK_STREAM]". */
  readonly why?: string;
}

/** The way from an skb to the objects it points to, and the tables that no object leads to. Handed in by those above. */
export interface PointerAccess {
  skbDst?: ((skb: number) => object | null) | undefined;
  skbDev?: ((skb: number) => object | null) | undefined;
  /** net_families[]: by AF_*. */
  netFamilies?: readonly unknown[] | undefined;
  /** inet_protos[]: by IPPROTO_*. */
  inetProtos?: readonly unknown[] | undefined;
}

// The objects are those of every layer above; whatever is read from them is checked where it is read.
type Obj = Record<string, any>;
type Fn = CallSite["fn"];

const asObject = (value: unknown): Obj | undefined =>
  typeof value === "object" && value !== null ? (value as Obj) : undefined;

/** What the arguments of caller and callee lead to. */
class Reach {
  readonly caller: CallSite;
  readonly callee: CallSite;
  readonly #access: PointerAccess;

  constructor(caller: CallSite, callee: CallSite, access: PointerAccess) {
    this.caller = caller;
    this.callee = callee;
    this.#access = access;
  }

  get access(): PointerAccess {
    return this.#access;
  }

  #object(name: string): Obj | undefined {
    return asObject(this.caller.arg(name)) ?? asObject(this.callee.arg(name));
  }

  get sock(): Obj | undefined {
    return this.#object("sock") ?? this.#object("newsock") ?? asObject(this.sk?.["skSocket"]);
  }

  get sk(): Obj | undefined {
    return this.#object("sk") ?? asObject(asObject(this.caller.arg("sock"))?.["sk"]);
  }

  get skb(): number {
    const skb = this.callee.arg("skb") ?? this.caller.arg("skb");
    return typeof skb === "number" ? skb : 0;
  }

  get dst(): Obj | undefined {
    return this.#object("dst") ?? (this.skb === 0 ? undefined : asObject(this.#access.skbDst?.(this.skb)));
  }

  get neigh(): Obj | undefined {
    const direct = this.#object("neigh") ?? this.#object("n") ?? asObject(this.#object("hh")?.["neigh"]);
    return direct ?? asObject(this.dst?.["neighbour"]);
  }

  get dev(): Obj | undefined {
    return this.#object("dev") ?? (this.skb === 0 ? undefined : asObject(this.#access.skbDev?.(this.skb)));
  }

  get hh(): Obj | undefined {
    return this.#object("hh") ?? asObject(this.dst?.["hh"]) ?? asObject(this.neigh?.["hh"]);
  }

  get qdisc(): Obj | undefined {
    const direct = this.#object("q") ?? this.#object("qdisc") ?? this.#object("sch");
    return direct ?? asObject(this.#object("txq")?.["qdisc"]) ?? asObject(this.dev?.["qdisc"]);
  }
}

interface PointerEntry {
  /** For readers and tests: what this entry is about. */
  readonly about: string;
  /** Our names of the only callers that use the pointer; if absent, any caller in another file than the callee's. */
  readonly callers?: ReadonlySet<string>;
  /** Callers in the callee's own file use the pointer too: its functions are never called by name. */
  readonly sameFile?: true;
  find(reach: Reach, fn: Fn): PointerNote | undefined;
}

const SOCK_TYPES: Readonly<Record<number, string>> = {
  1: "SOCK_STREAM",
  2: "SOCK_DGRAM",
  3: "SOCK_RAW",
  10: "SOCK_PACKET",
};
const FAMILIES: Readonly<Record<number, string>> = {
  1: "AF_UNIX",
  2: "AF_INET",
  10: "AF_INET6",
  16: "AF_NETLINK",
  17: "AF_PACKET",
};
const PROTOCOLS: Readonly<Record<number, string>> = {
  1: "ICMP",
  2: "IGMP",
  6: "TCP",
  17: "UDP",
  41: "IPV6",
  136: "UDPLITE",
};
const CREATORS: Readonly<Record<number, string>> = { 2: "inet_create", 10: "inet6_create", 17: "packet_create" };
const PACKET_TYPES: Readonly<Record<number, readonly [table: string, init: string]>> = {
  0x0003: ["packet_type", "packet_create"],
  0x0800: ["ip_packet_type", "inet_init"],
  0x0806: ["arp_packet_type", "arp_init"],
  0x86dd: ["ipv6_packet_type", "ipv6_packet_init"],
};
const DESTRUCTORS: Readonly<Record<string, string>> = {
  sockWfree: "skb_set_owner_w",
  tcpWfree: "__tcp_transmit_skb",
  __sockWfree: "__tcp_transmit_skb",
  sockRfree: "skb_set_owner_r",
  sockEfree: "skb_set_owner_edemux",
  sockEdemux: "tcp_v4_early_demux",
};

/** The name of the field of `table` that holds `fn`; only `fields`, if given. */
function fieldOf(table: Obj | undefined, fn: Fn, fields?: readonly string[]): string | undefined {
  if (table === undefined) return undefined;
  if (fields !== undefined) return fields.find((field) => table[field] === fn);
  for (const field in table) if (table[field] === fn) return field;
  return undefined;
}

function text(value: unknown, otherwise: string): string {
  return typeof value === "string" && value !== "" ? kernelName(value) : otherwise;
}

/** The C symbol of a table. */
function symbol(table: Obj | undefined, otherwise: string): string {
  return text(table?.["symbol"], otherwise);
}

/** A table of pointers: `prefix->field` holds `symbol.field`. */
function table(
  about: string,
  prefix: string,
  get: (reach: Reach) => Obj | undefined,
  setBy: (reach: Reach) => readonly [setBy: string, why?: string],
  options: { callers?: readonly string[]; fields?: readonly string[]; symbol?: string } = {},
): PointerEntry {
  return {
    about,
    ...(options.callers === undefined ? {} : { callers: new Set(options.callers) }),
    find(reach, fn) {
      const ops = get(reach);
      const field = fieldOf(ops, fn, options.fields);
      if (field === undefined) return undefined;
      const [by, why] = setBy(reach);
      return {
        pointer: `${prefix}->${kernelName(field)}`,
        table: `${symbol(ops, options.symbol ?? text(ops?.["name"], "ops"))}.${kernelName(field)}`,
        setBy: by,
        ...(why === undefined ? {} : { why }),
      };
    },
  };
}

/** Single pointers in an object: `prefix->field` holds a function. */
function field(
  about: string,
  prefix: string,
  fields: readonly string[],
  get: (reach: Reach) => Obj | undefined,
  setBy: (object: Obj, field: string) => readonly [setBy: string, why?: string],
  where: { callers?: ReadonlySet<string>; sameFile?: true } = {},
): PointerEntry {
  return {
    about,
    ...where,
    find(reach, fn) {
      const object = get(reach);
      const name = fieldOf(object, fn, fields);
      if (object === undefined || name === undefined) return undefined;
      const [by, why] = setBy(object, name);
      const note = { pointer: `${prefix}->${kernelName(name)}`, table: kernelName(reach.callee.name), setBy: by };
      return why === undefined ? note : { ...note, why };
    },
  };
}

function fromInetsw(reach: Reach): readonly [string, string?] {
  const family = Number(reach.sock?.["ops"]?.["family"] ?? reach.sk?.["skcFamily"] ?? 2);
  const type = Number(reach.sock?.["type"] ?? reach.sk?.["skType"] ?? 0);
  const setBy = CREATORS[family] ?? "the family's create";
  if (family !== 2) return [setBy];
  return [setBy, `from inetsw[${SOCK_TYPES[type] ?? type}]`];
}

/** The setter that a struct records beside its pointer: `output` -> `outputSetBy`. */
function recorded(object: Obj, name: string, otherwise: string): string {
  return text(object[`${name}SetBy`], otherwise);
}

const NUD_NAMES: readonly (readonly [number, string])[] = [
  [0x01, "NUD_INCOMPLETE"],
  [0x02, "NUD_REACHABLE"],
  [0x04, "NUD_STALE"],
  [0x08, "NUD_DELAY"],
  [0x10, "NUD_PROBE"],
  [0x20, "NUD_FAILED"],
  [0x40, "NUD_NOARP"],
  [0x80, "NUD_PERMANENT"],
];

function whileNud(neigh: Obj | undefined): string | undefined {
  if (typeof neigh?.["nudState"] !== "number") return undefined;
  const state = neigh["nudState"];
  return `(${NUD_NAMES.find(([bit]) => state & bit)?.[1] ?? "NUD_NONE"})`;
}

/** Every function pointer of the path, in the order in which a packet meets them. */
export const FUNCTION_POINTERS: readonly PointerEntry[] = [
  {
    about: "net_families[family]->create",
    callers: new Set(["__sockCreate", "sockCreate"]),
    find({ caller, callee, access }, fn) {
      const family = Number(caller.arg("family"));
      const entry = asObject(access.netFamilies?.[family]);
      if (entry?.["create"] !== fn) return undefined;
      const known = callee.name === "inetCreate";
      return {
        pointer: `net_families[${FAMILIES[family] ?? family}]->create`,
        table: `${symbol(entry, known ? "inet_family_ops" : "ops")}.create`,
        setBy: "sock_register",
        ...(known ? { why: "in inet_init" } : {}),
      };
    },
  },
  table("sock->ops->*", "sock->ops", (reach) => asObject(reach.sock?.["ops"]), fromInetsw),
  table("sk->sk_prot->*", "sk->sk_prot", (reach) => asObject(reach.sk?.["skProt"]), fromInetsw),
  table(
    "icsk->icsk_af_ops->*",
    "icsk->icsk_af_ops",
    (reach) => asObject(reach.sk?.["icskAfOps"]),
    (reach) => [recorded(reach.sk ?? {}, "icskAfOps", "tcp_v4_init_sock")],
    { symbol: "ipv4_specific" },
  ),
  table(
    "icsk->icsk_ca_ops->*",
    "icsk->icsk_ca_ops",
    (reach) => asObject(reach.sk?.["icskCaOps"]),
    (reach) => [recorded(reach.sk ?? {}, "icskCaOps", "tcp_assign_congestion_control")],
  ),
  field(
    "icsk->icsk_sync_mss",
    "icsk",
    ["icskSyncMss"],
    (reach) => reach.sk,
    () => ["tcp_init_sock"],
    {
      callers: new Set(["inetCskUpdatePmtu"]),
    },
  ),
  table(
    "req->rsk_ops->*",
    "req->rsk_ops",
    ({ caller, callee }) => asObject(asObject(caller.arg("req") ?? callee.arg("req"))?.["rskOps"]),
    () => ["inet_reqsk_alloc"],
    { symbol: "tcp_request_sock_ops" },
  ),
  {
    about: "okfn",
    sameFile: true,
    find({ caller, callee }, fn) {
      if (caller.arg("okfn") !== fn) return undefined;
      // Who handed it in: the first caller up the stack that was not given it itself.
      let setter: CallSite | undefined = caller;
      while (setter !== undefined && setter.arg("okfn") === fn) setter = setter.caller;
      return {
        pointer: "okfn",
        table: kernelName(callee.name),
        setBy: kernelName(setter?.name ?? ""),
        why: "for NF_HOOK",
      };
    },
  },
  {
    about: "nf_hook_ops->hook",
    callers: new Set(["nfHook", "nfHookSlow", "nfIterate", "nfHookEntryHookfn"]),
    find({ caller, callee }) {
      if (caller.file === callee.file) return undefined;
      return { pointer: "hook->hook", table: kernelName(callee.name), setBy: "nf_register_net_hook" };
    },
  },
  field(
    "dst->output, dst->input",
    "skb->dst",
    ["output", "input"],
    (reach) => reach.dst,
    (dst, name) => [recorded(dst, name, "rt_dst_alloc")],
  ),
  table(
    "dst->ops->*",
    "dst->ops",
    (reach) => asObject((reach.dst ?? asObject(reach.sk?.["skDstCache"]))?.["ops"]),
    () => ["dst_alloc"],
    { symbol: "ipv4_dst_ops" },
  ),
  {
    about: "hh->hh_output",
    callers: new Set(["neighHhOutput", "neighOutput", "ipFinishOutput2"]),
    find(reach, fn) {
      const { hh } = reach;
      if (hh?.["hhOutput"] !== fn) return undefined;
      const why = whileNud(reach.neigh);
      return {
        pointer: "hh->hh_output",
        table: kernelName(reach.callee.name),
        setBy: recorded(hh, "hhOutput", "neigh_hh_init"),
        ...(why === undefined ? {} : { why }),
      };
    },
  },
  {
    about: "neigh->output",
    callers: new Set(["neighOutput", "ipFinishOutput2", "neighUpdate", "neighHhOutput"]),
    find(reach, fn) {
      const { neigh } = reach;
      if (neigh?.["output"] !== fn) return undefined;
      const why = whileNud(neigh);
      return {
        pointer: "neigh->output",
        table: kernelName(reach.callee.name),
        setBy: recorded(neigh, "output", "arp_constructor"),
        ...(why === undefined ? {} : { why }),
      };
    },
  },
  table(
    "neigh->ops->*",
    "neigh->ops",
    (reach) => asObject(reach.neigh?.["ops"]),
    () => ["arp_constructor"],
    { callers: ["neighResolveOutput", "neighConnectedOutput"], fields: ["queueXmit"] },
  ),
  table(
    "neigh->ops->solicit, error_report",
    "neigh->ops",
    (reach) => asObject(reach.neigh?.["ops"]),
    () => ["arp_constructor"],
    { fields: ["solicit", "errorReport"] },
  ),
  table(
    "dev->header_ops->*",
    "dev->header_ops",
    (reach) => asObject(reach.dev?.["headerOps"]),
    () => ["ether_setup"],
    {
      symbol: "eth_header_ops",
    },
  ),
  {
    about: "qdisc->enqueue, qdisc->dequeue",
    find({ qdisc }, fn) {
      const fields = ["enqueue", "dequeue", "peek", "reset"];
      const ops = asObject(qdisc?.["ops"]);
      const name = fieldOf(qdisc, fn, fields) ?? fieldOf(ops, fn, fields);
      if (name === undefined) return undefined;
      const id = text(ops?.["id"] ?? ops?.["name"], "qdisc");
      return { pointer: `q->${name}`, table: `${symbol(ops, `${id}_qdisc_ops`)}.${name}`, setBy: "qdisc_alloc" };
    },
  },
  table(
    "dev->netdev_ops->*",
    "dev->netdev_ops",
    (reach) => asObject(reach.dev?.["netdevOps"]),
    (reach) => [recorded(reach.dev ?? {}, "netdevOps", "")],
  ),
  {
    about: "napi->poll",
    sameFile: true,
    find({ callee }, fn) {
      const napi = asObject(callee.arg("napi") ?? callee.args[0]);
      if (napi?.["poll"] !== fn) return undefined;
      return { pointer: "n->poll", table: kernelName(callee.name), setBy: "netif_napi_add" };
    },
  },
  {
    about: "ptype->func",
    sameFile: true,
    find({ callee }, fn) {
      const ptype = asObject(callee.arg("pt") ?? callee.args[2]);
      if (ptype?.["func"] !== fn) return undefined;
      const [name, init] = PACKET_TYPES[Number(ptype["type"])] ?? ["packet_type", ""];
      const why = init === "" ? {} : { why: `in ${init}` };
      return { pointer: "pt_prev->func", table: `${symbol(ptype, name)}.func`, setBy: "dev_add_pack", ...why };
    },
  },
  {
    about: "inet_protos[]->handler, err_handler",
    find({ callee, access }, fn) {
      if (access.inetProtos === undefined) return undefined;
      for (let protocol = 0; protocol < access.inetProtos.length; protocol++) {
        const entry = asObject(access.inetProtos[protocol]);
        const name = fieldOf(entry, fn, ["handler", "errHandler"]);
        if (name === undefined) continue;
        const known = PROTOCOLS[protocol];
        return {
          pointer: `inet_protos[${known === undefined ? protocol : `IPPROTO_${known}`}]->${kernelName(name)}`,
          table: `${symbol(entry, `${(known ?? "net").toLowerCase()}_protocol`)}.${kernelName(name)}`,
          setBy: "inet_add_protocol",
          why: "in inet_init",
        };
      }
      return undefined;
    },
  },
  field(
    "sk->sk_data_ready, sk_write_space, sk_state_change, sk_error_report",
    "sk",
    ["skDataReady", "skWriteSpace", "skStateChange", "skErrorReport"],
    ({ callee }) => asObject(callee.arg("sk") ?? callee.args[0]),
    () => ["sock_init_data"],
    { sameFile: true },
  ),
  field(
    "sk->sk_backlog_rcv, sk_destruct",
    "sk",
    ["skBacklogRcv", "skDestruct"],
    ({ callee }) => asObject(callee.arg("sk") ?? callee.args[0]),
    () => ["inet_create"],
  ),
  {
    about: "skb->destructor",
    find({ callee }) {
      const setBy = DESTRUCTORS[callee.name];
      if (setBy === undefined) return undefined;
      return { pointer: "skb->destructor", table: kernelName(callee.name), setBy };
    },
  },
];

/** The pointer through which `caller` has called `callee`; undefined if it was a plain call. */
export function notePointer(caller: CallSite, callee: CallSite, access: PointerAccess): PointerNote | undefined {
  const reach = new Reach(caller, callee, access);
  for (const entry of FUNCTION_POINTERS) {
    if (entry.callers === undefined) {
      if (caller.file === callee.file && entry.sameFile !== true) continue;
    } else if (!entry.callers.has(caller.name)) continue;
    const note = entry.find(reach, callee.fn);
    if (note !== undefined) return note;
  }
  return undefined;
}
