/** A broken invariant: a bug in the stack itself. Nothing catches it. */
export class BugError extends Error {
  override readonly name = "BugError";
}

/** BUG_ON: throws a BugError when `condition` holds. `what` must be a constant (no string is built when it is false). */
export function bugOn(condition: boolean, what: string): void {
  if (condition) throw new BugError(what);
}
