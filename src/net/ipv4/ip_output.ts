/** The IPv4 output path (signatures; being filled in). */

import { BugError } from "../../kernel/bug.ts";
import type { DstEntry } from "../core/dst.ts";
import type { Net } from "../core/net_namespace.ts";
import type { Msghdr, Sock } from "../core/sock.ts";
import type { FlowI4 } from "./flow.ts";
import type { IpcmCookie, IpReplyArg, InetCork } from "./ip.ts";
import type { IpOptions } from "./ip_options.ts";

/** Copies `len` bytes at `offset` of what is sent to `to` (address); adds their sum to skb->csum unless CHECKSUM_PARTIAL. */
export type GetFrag = (from: unknown, to: number, offset: number, len: number, odd: number, skb: number) => number;

export function ipQueueXmit(sk: Sock, skb: number, fl: FlowI4): number { throw new BugError("todo"); }
export function __ipQueueXmit(sk: Sock, skb: number, fl: FlowI4, tos: number): number { throw new BugError("todo"); }
export function ipBuildAndSendPkt(skb: number, sk: Sock, saddr: number, daddr: number, opt: IpOptions | null, tos: number): number { throw new BugError("todo"); }
export function ipLocalOut(net: Net, sk: Sock | null, skb: number): number { throw new BugError("todo"); }
export function __ipLocalOut(net: Net, sk: Sock | null, skb: number): number { throw new BugError("todo"); }
export function ipOutput(net: Net, sk: Sock | null, skb: number): number { throw new BugError("todo"); }
export function ipMcOutput(net: Net, sk: Sock | null, skb: number): number { throw new BugError("todo"); }
export function ipDoFragment(net: Net, sk: Sock | null, skb: number, output: (net: Net, sk: Sock | null, skb: number) => number): number { throw new BugError("todo"); }
/** getfrag over a Msghdr (ip_generic_getfrag). */
export function ipGenericGetfrag(from: unknown, to: number, offset: number, len: number, odd: number, skb: number): number { throw new BugError("todo"); }
export function ipAppendData(sk: Sock, fl4: FlowI4, getfrag: GetFrag, from: unknown, length: number, transhdrlen: number, ipc: IpcmCookie, rt: DstEntry, flags: number): number { throw new BugError("todo"); }
/** The datagram that was appended, with its IP header; 0 = none. */
export function ipFinishSkb(sk: Sock, fl4: FlowI4): number { throw new BugError("todo"); }
/** One datagram from one send. The skb, 0 (nothing, MSG_PROBE), or a negative errno. */
export function ipMakeSkb(sk: Sock, fl4: FlowI4, getfrag: GetFrag, from: unknown, length: number, transhdrlen: number, ipc: IpcmCookie, rt: DstEntry, cork: InetCork, flags: number): number { throw new BugError("todo"); }
export function ipSendSkb(net: Net, skb: number): number { throw new BugError("todo"); }
export function ipPushPendingFrames(sk: Sock, fl4: FlowI4): number { throw new BugError("todo"); }
export function ipFlushPendingFrames(sk: Sock): void { throw new BugError("todo"); }
/** Answers `skb` (its options turned around) with the segment in `arg`. Does not consume `skb`. */
export function ipSendUnicastReply(net: Net, origSk: Sock | null, skb: number, daddr: number, saddr: number, arg: IpReplyArg): void { throw new BugError("todo"); }
export type { Msghdr };
