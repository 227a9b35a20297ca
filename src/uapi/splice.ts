// splice(2) and pipes: linux/splice.h, linux/pipe_fs_i.h, linux/limits.h.

export const SPLICE_F_MOVE = 0x1;
export const SPLICE_F_NONBLOCK = 0x2;
export const SPLICE_F_MORE = 0x4;
export const SPLICE_F_GIFT = 0x8;
export const SPLICE_F_ALL = 0xf;
/** Bytes that a write to a pipe puts there in one piece. */
export const PIPE_BUF = 4096;
export const PIPE_DEF_BUFFERS = 16;
// memfd_create(2).
export const MFD_CLOEXEC = 0x1;
