/** The public API of skbuff. */

export { createKernel, SkbuffKernel } from "./init/create.ts";
export type { KernelOptions } from "./init/create.ts";
export { CommandError, Host } from "./init/host.ts";
export type { Syscalls } from "./init/host.ts";
export type { LinkOptions } from "./init/link.ts";
export { Capture } from "./init/capture.ts";
export { attachTap } from "./init/tap.ts";
export type { TunBackend, TunOptions } from "./drivers/net/tun.ts";
export { formatIpv4, parseIpv4, SocketError } from "./net/socket_error.ts";
export { BugError } from "./kernel/bug.ts";
export { kernelName } from "./kernel/names.ts";
export { Trace } from "./kernel/ftrace.ts";
export type { TraceEvent, TraceOptions } from "./kernel/ftrace.ts";
export { KernelTrace } from "./trace.ts";
export { PcapngWriter } from "./tools/pcapng.ts";
export type { DgramModule, DgramSocket } from "./compat/dgram.ts";
export type { NetModule, NetServer, NetSocket, StreamsModule } from "./compat/net.ts";
export type { NetDevice, NetDeviceStats, PacketTap } from "./net/core/dev.ts";
export type { SockAddr } from "./net/core/sock.ts";
export type { TcpInfo } from "./net/ipv4/tcp_sockopt.ts";
