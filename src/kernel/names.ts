/**
 * The naming rule of this project, as code: a kernel function `tcp_v4_rcv` is `tcpV4Rcv` here. Leading underscores
 * stay, an underscore before a digit stays, and names without lower case letters (macros) are left alone. The trace
 * prints kernel names, so every name has to survive the way there and back.
 */

/** Kernel names that the rule does not give back: odd case in drivers, words run together. Ours -> the kernel's. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  csumTcpUdpMagic: "csum_tcpudp_magic",
  csumTcpUdpNofold: "csum_tcpudp_nofold",
  swNicInit: "swNic_init",
  swNicIntHandler: "swNic_intHandler",
  swNicReceive: "swNic_receive",
  swNicRxRunout: "swNic_rxRunout",
  swNicSend: "swNic_send",
  swNicTxDone: "swNic_txDone",
  swNicTxRunout: "swNic_txRunout",
};

const FROM_KERNEL: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(EXCEPTIONS).map(([ours, theirs]) => [theirs, ours]),
);

/** The kernel's name of one of our functions: `__tcpPushPendingFrames` -> `__tcp_push_pending_frames`. */
export function kernelName(name: string): string {
  const exception = EXCEPTIONS[name];
  if (exception !== undefined) return exception;
  if (!/[a-z]/.test(name)) return name;
  return name.replace(/[A-Z]/g, (letter, at: number) => (at === 0 ? letter : `_${letter.toLowerCase()}`));
}

/** Our name of a kernel function: `re865x_start_xmit` -> `re865xStartXmit`. A name that is ours already comes back. */
export function camelName(name: string): string {
  const exception = FROM_KERNEL[name];
  if (exception !== undefined) return exception;
  if (!/[a-z]/.test(name)) return name;
  return name.replace(/([A-Za-z0-9])_([a-z])/g, (_, before: string, letter: string) => before + letter.toUpperCase());
}
