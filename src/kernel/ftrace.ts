export const ftrace = {
  on: false,
  enter(_fn: unknown): boolean { return true; },
};
