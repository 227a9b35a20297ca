// What an instance is given besides its memory. Immutable: every instance on a memory has a cpu of its own.

/** The cpu (worker) that this instance runs on: 0 .. NR_CPUS - 1. */
export declare const cpu: i32;
