/** The kinds of links that `ip link add ... type KIND` can make. */

import type { NetDevice } from "../../net/core/dev.ts";
import type { Net } from "../../net/core/net_namespace.ts";
import type { LinkMsg, NetlinkExtAck, RtnlLinkOps } from "../../net/core/rtnetlink.ts";
import { nlSetErrMsg, rtnlConfigureLink, rtnlLinkRegister } from "../../net/core/rtnetlink.ts";
import { EINVAL } from "../../uapi/errno.ts";
import { dummyNewlink } from "./dummy.ts";
import type { VethOptions } from "./veth.ts";
import { vethDellink, vethNewlink, vethPeer } from "./veth.ts";

function vethOptions(msg: LinkMsg): VethOptions {
  const options: VethOptions = {};
  if (msg.mtu !== undefined) options.mtu = msg.mtu;
  if (msg.address !== undefined) options.address = msg.address;
  return options;
}

const vethLinkOps: RtnlLinkOps = {
  kind: "veth",
  newlink(net: Net, msg: LinkMsg, extack: NetlinkExtAck): NetDevice | number {
    const peer = msg.peer ?? {};
    for (const end of [msg, peer]) {
      if (end.mtu !== undefined && (end.mtu < 68 || end.mtu > 65535)) {
        return nlSetErrMsg(
          extack,
          end.mtu < 68 ? "mtu less than device minimum" : "mtu greater than device maximum",
          -EINVAL,
        );
      }
    }
    const dev = vethNewlink(
      msg.netns ?? net,
      msg.ifname ?? "veth%d",
      peer.netns ?? net,
      peer.ifname ?? "veth%d",
      vethOptions(msg),
      vethOptions(peer),
    );
    if (typeof dev === "number") return dev;
    const other = vethPeer(dev);
    if (other !== null) rtnlConfigureLink(other, peer);
    return dev;
  },
  dellink: vethDellink,
  peer: vethPeer,
};

const dummyLinkOps: RtnlLinkOps = {
  kind: "dummy",
  newlink(net: Net, msg: LinkMsg, extack: NetlinkExtAck): NetDevice | number {
    const dev = dummyNewlink(msg.netns ?? net, msg.ifname ?? "dummy%d", msg.address);
    if (typeof dev !== "number" && msg.mtu !== undefined) dev.mtu = msg.mtu;
    extack.msg = "";
    return dev;
  },
};

/** rtnl_link_register for all of them; doing it again does nothing. */
export function linkOpsInit(): void {
  rtnlLinkRegister(vethLinkOps);
  rtnlLinkRegister(dummyLinkOps);
}
