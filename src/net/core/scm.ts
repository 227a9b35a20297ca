/** net/core/scm.c: control messages to the user. */

import { MSG_CTRUNC } from "../../uapi/socket.ts";
import type { Msghdr } from "./sock.ts";

/**
 * put_cmsg: adds a control message to what recvmsg returns. `data`: a number for integers, a value object for structs.
 * A caller that gave no room (`msg.control` null) gets MSG_CTRUNC instead.
 */
export function putCmsg(msg: Msghdr, level: number, type: number, data: unknown): void {
  if (msg.control === null) {
    msg.flags |= MSG_CTRUNC;
    return;
  }
  msg.control.push({ level, type, data });
}
