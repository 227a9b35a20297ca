/**
 * The Ethernet driver of the Realtek rtl819x SoCs, as the 2012 walk-through met it (drivers/net/rtl819x/rtl_nic.c of
 * the
 * SDK's 2.6.30): no scatter-gather, no checksum offload, no queue above it, and therefore never busy: when its ring is
 * full it reclaims and tries again, and in the end throws the frame away.
 */

import {
  CHECKSUM_NONE,
  SKB_DATA,
  SKB_DATA_LEN,
  SKB_DEV,
  SKB_IP_SUMMED,
  SKB_LEN,
  SKB_PROTOCOL,
  SKB_TAIL,
} from "../../../../assembly/layout.ts";
import { kernel } from "../../../kernel/kernel.ts";
import {
  type TaskletStruct,
  taskletHiSchedule,
  taskletKill,
  taskletSchedule,
  taskletSetup,
} from "../../../kernel/softirq.ts";
import { modTimer, type TimerList, timerSetup, timerShutdown } from "../../../kernel/timer.ts";
import { dv, u8, u16, u32 } from "../../../mm/mem.ts";
import {
  NapiStruct,
  NETDEV_TX_OK,
  NETIF_F_GSO_COPY,
  type NetDevice,
  type NetDeviceOps,
  napiDisable,
  napiGroPoll,
  napiGroReceive,
  netifCarrierOff,
  netifCarrierOn,
  netifReceiveSkb,
  netifStartQueue,
  netifStopQueue,
  registerNetdevice,
  skbTxTimestamp,
  unregisterNetdevice,
} from "../../../net/core/dev.ts";
import type { Net } from "../../../net/core/net_namespace.ts";
import { kfreeSkbReason, skbPull } from "../../../net/core/skbuff.ts";
import { allocEtherdev, ethHwAddrRandom, ethHwAddrSet, ethMacAddr, ethTypeTrans } from "../../../net/ethernet/eth.ts";
import {
  SKB_DROP_REASON_DEV_READY,
  SKB_DROP_REASON_FULL_RING,
  SKB_DROP_REASON_PKT_TOO_BIG,
  SKB_DROP_REASON_PKT_TOO_SMALL,
} from "../../../uapi/dropreason.ts";
import { ETH_HLEN, ETH_P_8021Q, ETH_P_IP } from "../../../uapi/if_ether.ts";
import type { Wire } from "../wire.ts";
import { PKTHDR_DESC_RUNOUT_IP, RX_DONE_IP, RXCMD, SwitchCore, TX_ALL_DONE_IP, TXCMD } from "./switch_core.ts";
import {
  RTL_NICRX_NULL,
  RTL_NICRX_REPEAT,
  RtlNicRxInfo,
  RtlNicTxInfo,
  refillRxSkb,
  SwNic,
  swNicFree,
  swNicInit,
  swNicReceive,
  swNicSend,
  swNicTxDone,
} from "./swnic.ts";

// ph_flags.
const PKTHDR_USED = 0x8000;
const PKT_OUTGOING = 0x0800;
const PKTHDR_HWLOOKUP = 0x0020;
const PKTHDR_BRIDGING = 0x0040;
/** Port list and source of a frame that the core shall forward by its own tables. */
const RTL8651_CPU_PORT = 0x07;
const PKTHDR_EXTPORT_CPU = 3;
/** VLANs and ports of the two sides, as the SDK's vlanconfig has them. */
const RTL_LANVLANID = 9;
const RTL_WANVLANID = 8;
const RTL_LANPORT_MASK = 0x0f;
const RTL_WANPORT_MASK = 0x10;

/** How often a full ring is reclaimed before the frame is given up. */
const TX_RETRIES = 129;
/** How soon to try again when there was no memory for receive buffers, microseconds. */
const REFILL_INTERVAL = 1000;
/** The longest frame: 1500 bytes of payload, a VLAN tag. */
const MAX_FRAME = 1518;
const VLAN_HLEN = 4;

/** struct dev_priv. */
export class DevPriv {
  readonly dev: NetDevice;
  readonly core: SwitchCore;
  readonly nic: SwNic;
  readonly wire: Wire;
  readonly isLan: boolean;
  /** VLAN and ports that frames go to; 0 = the device is not configured. */
  id: number;
  portmask: number;
  readonly rxDsrTasklet: TaskletStruct;
  readonly txDsrTasklet: TaskletStruct;
  readonly refillTimer: TimerList = timerSetup(rtlRefillTimer, this);
  /** Joins received frames, where the device was made to (not in the SDK). */
  readonly napi: NapiStruct;
  readonly gro: boolean;
  /** How many tasklets want TX_ALL_DONE masked. */
  txDoneMasked = 0;

  constructor(dev: NetDevice, wire: Wire, end: number, isLan: boolean, gro: boolean) {
    this.dev = dev;
    this.wire = wire;
    this.isLan = isLan;
    this.gro = gro;
    this.napi = new NapiStruct(dev, () => 0);
    this.id = isLan ? RTL_LANVLANID : RTL_WANVLANID;
    this.portmask = isLan ? RTL_LANPORT_MASK : RTL_WANPORT_MASK;
    this.core = new SwitchCore(wire, end, interruptIsr, dev);
    this.nic = new SwNic(this.core);
    this.rxDsrTasklet = taskletSetup(interruptDsrRx, this);
    this.txDsrTasklet = taskletSetup(interruptDsrTx, this);
  }
}

// ---- transmit -------------------------------------------------------------------------------------------------------

const nicTx: RtlNicTxInfo = new RtlNicTxInfo();

/**
 * rtl_hwLookup: whether the core's own tables find the way: unicast, on the LAN side, and an IP header, if it is one,
 * without options.
 */
/* notrace */
function rtlIsHwlookup(data: number, len: number, cp: DevPriv): boolean {
  if (!cp.isLan || ((u8[data] as number) & 1) !== 0) return false;
  return dv.getUint16(data + 12) !== ETH_P_IP || (len > ETH_HLEN && ((u8[data + ETH_HLEN] as number) & 15) === 5);
}

function rtlDropTx(skb: number, dev: NetDevice, reason: number): number {
  dev.stats.txDropped++;
  kfreeSkbReason(skb, reason);
  return NETDEV_TX_OK;
}

/** re865x_start_xmit: ndo_start_xmit. Always takes the skb. */
export function re865xStartXmit(skb: number, dev: NetDevice): number {
  const cp = dev.priv as DevPriv;
  const len = u32[(skb + SKB_LEN) >>> 2] as number;
  const data = u32[(skb + SKB_DATA) >>> 2] as number;
  if (cp.id === 0 || cp.portmask === 0 || cp.nic.block === 0) return rtlDropTx(skb, dev, SKB_DROP_REASON_DEV_READY);
  if (len < ETH_HLEN) return rtlDropTx(skb, dev, SKB_DROP_REASON_PKT_TOO_SMALL);
  if (len > MAX_FRAME) return rtlDropTx(skb, dev, SKB_DROP_REASON_PKT_TOO_BIG);

  skbTxTimestamp(skb);
  nicTx.vid = cp.id;
  if (rtlIsHwlookup(data, len, cp)) {
    nicTx.portlist = RTL8651_CPU_PORT;
    nicTx.srcExtPort = PKTHDR_EXTPORT_CPU;
    nicTx.flags = PKTHDR_USED | PKT_OUTGOING | PKTHDR_HWLOOKUP | PKTHDR_BRIDGING;
  } else {
    nicTx.portlist = cp.portmask & 0x3f;
    nicTx.srcExtPort = 0;
    nicTx.flags = PKTHDR_USED | PKT_OUTGOING;
  }

  // Nobody above keeps a frame for us, so it is now or never.
  let retry = 0;
  while (swNicSend(cp.nic, skb, data, len, nicTx) < 0) {
    swNicTxDone(cp.nic, 0);
    if (++retry > TX_RETRIES) {
      dev.stats.txFifoErrors++;
      return rtlDropTx(skb, dev, SKB_DROP_REASON_FULL_RING);
    }
  }
  // The skb may be gone by now: only what was read before counts.
  dev.stats.txPackets++;
  dev.stats.txBytes += len;
  return NETDEV_TX_OK;
}

// ---- interrupts -----------------------------------------------------------------------------------------------------

/** rtl_rxSetTxDone: masks TX_ALL_DONE while either tasklet is going to reclaim anyway. Counted. */
function rtlRxSetTxDone(cp: DevPriv, enable: boolean): void {
  const { core } = cp;
  if (!enable) {
    if (cp.txDoneMasked++ === 0) core.setMask(core.cpuiimr & ~TX_ALL_DONE_IP);
  } else if (cp.txDoneMasked > 0 && --cp.txDoneMasked === 0) {
    core.setMask(core.cpuiimr | TX_ALL_DONE_IP);
  }
}

/**
 * interrupt_isr: answers the interrupt and leaves the work to the tasklets. Looks for received frames whatever it was.
 */
export function interruptIsr(arg: unknown): void {
  const cp = (arg as NetDevice).priv as DevPriv;
  const { core } = cp;
  const status = core.cpuiisr;
  core.ack(status & ~PKTHDR_DESC_RUNOUT_IP);
  core.setMask(core.cpuiimr & ~(RX_DONE_IP | PKTHDR_DESC_RUNOUT_IP));
  if (!cp.rxDsrTasklet.scheduled) rtlRxSetTxDone(cp, false);
  taskletHiSchedule(cp.rxDsrTasklet);
  if ((status & TX_ALL_DONE_IP) !== 0) {
    if (!cp.txDsrTasklet.scheduled) rtlRxSetTxDone(cp, false);
    taskletSchedule(cp.txDsrTasklet);
  }
}

/** Frames that are joined in one call. */
const GRO_BATCH = 64;

const rxInfo: RtlNicRxInfo = new RtlNicRxInfo();

/** interrupt_dsr_rx: the receive tasklet. Goes on until the core owns the next descriptor. */
export function interruptDsrRx(t: TaskletStruct): void {
  const cp = t.data as DevPriv;
  for (let frames = 1; ; frames++) {
    const ret = swNicReceive(cp.nic, rxInfo);
    if (ret === RTL_NICRX_NULL) break;
    if (ret === RTL_NICRX_REPEAT) {
      cp.dev.stats.rxErrors++;
      cp.dev.stats.rxCrcErrors++;
      continue;
    }
    rtlProcessRxFrame(cp, rxInfo);
    // What it led to may have closed the device.
    if (cp.nic.block === 0) return;
    if (frames % GRO_BATCH === 0 && cp.gro) napiGroPoll(cp.napi, false);
  }
  if (cp.gro) {
    napiGroPoll(cp.napi, true);
    if (cp.nic.block === 0) return;
  }
  interruptDsrRxDone(cp);
}

/** interrupt_dsr_rx_done: receive interrupts are on again. */
function interruptDsrRxDone(cp: DevPriv): void {
  const { core, nic } = cp;
  rtlRxSetTxDone(cp, true);
  core.ack(PKTHDR_DESC_RUNOUT_IP);
  if (nic.unfilled > 0) {
    // No memory: an interrupt for want of descriptors would come again at once. Look again in a while.
    core.cpuiisr &= ~PKTHDR_DESC_RUNOUT_IP;
    modTimer(cp.refillTimer, kernel.now + REFILL_INTERVAL);
  }
  core.setMask(core.cpuiimr | RX_DONE_IP | PKTHDR_DESC_RUNOUT_IP);
}

/** Receive slots are without buffers: are there any now? */
function rtlRefillTimer(t: TimerList): void {
  const cp = t.data as DevPriv;
  refillRxSkb(cp.nic);
  if (cp.nic.unfilled > 0) modTimer(t, kernel.now + REFILL_INTERVAL);
}

/**
 * interrupt_dsr_tx: the transmit tasklet: reclaims what was sent, and makes good for buffers that were not to be had.
 */
export function interruptDsrTx(t: TaskletStruct): void {
  const cp = t.data as DevPriv;
  swNicTxDone(cp.nic, 0);
  refillRxSkb(cp.nic);
  rtlRxSetTxDone(cp, true);
}

/** rtl_processRxFrame: makes the buffer a received skb and takes a VLAN tag off. */
function rtlProcessRxFrame(cp: DevPriv, info: RtlNicRxInfo): void {
  const { dev } = cp;
  const skb = info.input;
  const data = u32[(skb + SKB_DATA) >>> 2] as number;
  u32[(skb + SKB_LEN) >>> 2] = info.len;
  u32[(skb + SKB_DATA_LEN) >>> 2] = 0;
  u32[(skb + SKB_TAIL) >>> 2] = data + info.len;
  u32[(skb + SKB_DEV) >>> 2] = dev.slot;
  if (dv.getUint16(data + 12) === ETH_P_8021Q && info.len >= ETH_HLEN + VLAN_HLEN) {
    u8.copyWithin(data + VLAN_HLEN, data, data + 12);
    skbPull(skb, VLAN_HLEN);
  }
  dev.stats.rxPackets++;
  dev.stats.rxBytes += u32[(skb + SKB_LEN) >>> 2] as number;
  rtlProcessRxToProtcolStack(skb, dev);
}

/** rtl_processRxToProtcolStack (sic). */
function rtlProcessRxToProtcolStack(skb: number, dev: NetDevice): void {
  u16[(skb + SKB_PROTOCOL) >>> 1] = ethTypeTrans(skb, dev);
  u8[skb + SKB_IP_SUMMED] = CHECKSUM_NONE;
  if ((dev.priv as DevPriv).gro) napiGroReceive((dev.priv as DevPriv).napi, skb);
  else netifReceiveSkb(skb);
}

// ---- the device -----------------------------------------------------------------------------------------------------

/** re865x_open: makes the rings and switches the core on. -ENOMEM. */
export function re865xOpen(dev: NetDevice): number {
  const cp = dev.priv as DevPriv;
  const err = swNicInit(cp.nic);
  if (err < 0) return err;
  cp.txDoneMasked = 0;
  cp.core.cpuicr = TXCMD | RXCMD;
  cp.core.setMask(RX_DONE_IP | PKTHDR_DESC_RUNOUT_IP | TX_ALL_DONE_IP);
  netifCarrierOn(dev);
  netifStartQueue(dev);
  return 0;
}

/** re865x_close: the only place that ever stops the queue. */
export function re865xClose(dev: NetDevice): number {
  const cp = dev.priv as DevPriv;
  netifStopQueue(dev);
  netifCarrierOff(dev);
  cp.core.reset();
  taskletKill(cp.rxDsrTasklet);
  taskletKill(cp.txDsrTasklet);
  napiDisable(cp.napi);
  timerShutdown(cp.refillTimer);
  swNicFree(cp.nic);
  return 0;
}

/** re865x_tx_timeout. It never fires: without a qdisc there is no watchdog. */
function re865xTxTimeout(dev: NetDevice): void {
  swNicTxDone((dev.priv as DevPriv).nic, 0);
}

/** Takes the device off its wire. */
function re865xUninit(dev: NetDevice): void {
  const cp = dev.priv as DevPriv;
  cp.wire.detach(cp.core.end);
}

const rtl819xNetdevOps: NetDeviceOps = {
  symbol: "rtl819x_netdev_ops",
  ndoUninit: re865xUninit,
  ndoOpen: re865xOpen,
  ndoStop: re865xClose,
  ndoStartXmit: re865xStartXmit,
  ndoSetMacAddress: ethMacAddr,
  ndoTxTimeout: re865xTxTimeout,
};

export interface Re865xOptions {
  /** Six bytes; random by default. */
  address?: Uint8Array;
  /** Bytes of layer 3, at most 1500. */
  mtu?: number;
  /** The WAN side instead of the LAN side: no lookup by the core. */
  wan?: boolean;
  /** Super-packets down to the driver, cut into linear frames in front of it: what 2.6.30 did not have for this card. */
  gso?: boolean;
  /** Received frames are joined to super-packets. */
  gro?: boolean;
}

/**
 * re865x_probe: an rtl819x network card in host `net`, at end 0 or 1 of `wire`. Down. Names may be templates ("eth%d").
 * Returns the device or a negative errno.
 */
export function re865xProbe(
  net: Net,
  name: string,
  wire: Wire,
  end: number,
  options?: Re865xOptions,
): NetDevice | number {
  const dev = allocEtherdev(net, name, rtl819xNetdevOps, "re865x_probe");
  // CONFIG_RTL_819X: ether_setup gives its devices no queue.
  dev.txQueueLen = 0;
  if (options?.gso === true) dev.features |= NETIF_F_GSO_COPY;
  if (options?.mtu !== undefined) dev.mtu = options.mtu;
  if (options?.address === undefined) ethHwAddrRandom(dev);
  else ethHwAddrSet(dev, options.address);
  const cp = new DevPriv(dev, wire, end, options?.wan !== true, options?.gro === true);
  dev.priv = cp;
  netifCarrierOff(dev);
  const err = registerNetdevice(dev);
  if (err < 0) return err;
  wire.attach(end, cp.core);
  return dev;
}

/** re865x_exit: removes the device. */
export function re865xExit(dev: NetDevice): void {
  unregisterNetdevice(dev);
}
