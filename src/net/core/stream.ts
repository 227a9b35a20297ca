/** net/core/stream.c and the sk_stream_* inlines of include/net/sock.h: send buffers of stream protocols. */

import { bugOn } from "../../kernel/bug.ts";
import { EPIPE } from "../../uapi/errno.ts";
import { skbQueuePurge } from "./skbuff.ts";
import type { Sock } from "./sock.ts";
import { skMemReclaimFinal, skWakeWriters, sockError } from "./sock.ts";

/** sk_stream_min_wspace: a third of what is queued must be free before a writer is woken. */
/* notrace */
export function skStreamMinWspace(sk: Sock): number {
  return sk.skWmemQueued >> 1;
}
/* notrace */
export function skStreamWspace(sk: Sock): number {
  return sk.skSndbuf - sk.skWmemQueued;
}

/** __sk_stream_memory_free: whether there is send buffer left. `wake`: asked in order to wake a writer. */
/* notrace */
export function __skStreamMemoryFree(sk: Sock, wake: number): boolean {
  if (sk.skWmemQueued >= sk.skSndbuf) return false;
  return sk.skProt.streamMemoryFree !== undefined ? sk.skProt.streamMemoryFree(sk, wake) : true;
}
/* notrace */
export function skStreamMemoryFree(sk: Sock): boolean {
  return __skStreamMemoryFree(sk, 0);
}
/** __sk_stream_is_writeable. */
/* notrace */
export function __skStreamIsWriteable(sk: Sock, wake: number): boolean {
  return sk.skSndbuf - sk.skWmemQueued >= sk.skWmemQueued >> 1 && __skStreamMemoryFree(sk, wake);
}
/* notrace */
export function skStreamIsWriteable(sk: Sock): boolean {
  return __skStreamIsWriteable(sk, 0);
}

/**
 * sk_stream_write_space: sk->sk_write_space of streams. Wakes writers, if one asked for it (SOCK_NOSPACE), once a third
 * of the send buffer is free.
 */
export function skStreamWriteSpace(sk: Sock): void {
  if (sk.skSocket === null || !__skStreamIsWriteable(sk, 1)) return;
  sk.skNoSpace = false;
  skWakeWriters(sk);
}

/** sk_stream_error: the error that a write call returns; EPIPE stays EPIPE (there is no SIGPIPE to send). */
export function skStreamError(sk: Sock, _flags: number, err: number): number {
  if (err === -EPIPE) {
    const pending = sockError(sk);
    return pending !== 0 ? pending : -EPIPE;
  }
  return err;
}

/** sk_stream_kill_queues: frees what a dead stream still holds. Only the protocol's write queue must be empty already. */
export function skStreamKillQueues(sk: Sock): void {
  skbQueuePurge(sk.skReceiveQueue);
  skbQueuePurge(sk.skErrorQueue);
  bugOn(sk.skWriteQueue.qlen !== 0, "sk_stream_kill_queues: write queue not empty");
  skMemReclaimFinal(sk);
  bugOn(sk.skWmemQueued !== 0, "sk_stream_kill_queues: sk_wmem_queued");
}
