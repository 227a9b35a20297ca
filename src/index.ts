/** The public API of skbuff. */

export type { DgramModule, DgramSocket } from "./compat/dgram.ts";
export type { NetModule, NetServer, NetSocket, StreamsModule } from "./compat/net.ts";
export type { TunBackend, TunOptions } from "./drivers/net/tun.ts";
export { Capture } from "./init/capture.ts";
export type { KernelOptions } from "./init/create.ts";
export { createKernel, SkbuffKernel } from "./init/create.ts";
export type { Syscalls } from "./init/host.ts";
export { CommandError, Host } from "./init/host.ts";
export type { LinkOptions } from "./init/link_options.ts";
export { simulate } from "./init/simulate.ts";
export { attachTap } from "./init/tap.ts";
export { BugError } from "./kernel/bug.ts";
export type { TraceEvent, TraceOptions } from "./kernel/ftrace.ts";
export { Trace } from "./kernel/ftrace.ts";
export { kernelName } from "./kernel/names.ts";
export type { NetDevice, NetDeviceStats, PacketTap } from "./net/core/dev.ts";
export type { SockAddr } from "./net/core/sock.ts";
export { inetAton as parseIpv4, inetNtoa as formatIpv4 } from "./net/ipv4/inet_addr.ts";
export { tcpInfoBytes } from "./net/ipv4/tcp.info.ts";
export type { TcpInfo } from "./net/ipv4/tcp_sockopt.ts";
export { SocketError } from "./net/socket_error.ts";
export { plotSvg } from "./sim/plot.ts";
export type {
  FlowResult,
  FlowSamples,
  Impairments,
  LinkResult,
  SimFlow,
  SimLink,
  SimOptions,
  SimResult,
  StarOptions,
} from "./sim/simulate.ts";
export { star } from "./sim/simulate.ts";
export { PcapngWriter } from "./tools/pcapng.ts";
export { KernelTrace } from "./trace.ts";
