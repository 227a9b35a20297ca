/** Numbers (skbs, flows) ordered by a time, then by their coming; what the kernel keeps in a red-black tree. */

export class TimeHeap {
  size = 0;
  #keys: Float64Array = new Float64Array(16);
  #orders: Float64Array = new Float64Array(16);
  #ids: Uint32Array = new Uint32Array(16);
  #order = 0;

  /** The first one's time; Infinity if there is none. */
  topKey(): number {
    return this.size === 0 ? Infinity : (this.#keys[0] as number);
  }

  /** The first one; 0 if there is none. */
  top(): number {
    return this.size === 0 ? 0 : (this.#ids[0] as number);
  }

  push(id: number, key: number): void {
    let i = this.size++;
    if (i === this.#keys.length) this.#grow();
    const order = ++this.#order;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      // A newcomer stands behind those of its own time.
      if ((this.#keys[parent] as number) <= key) break;
      this.#move(i, parent);
      i = parent;
    }
    this.#keys[i] = key;
    this.#orders[i] = order;
    this.#ids[i] = id;
  }

  /** Takes the first one off; 0 if there is none. */
  pop(): number {
    if (this.size === 0) return 0;
    const id = this.#ids[0] as number;
    const end = --this.size;
    if (end === 0) {
      this.#order = 0;
      return id;
    }
    const key = this.#keys[end] as number;
    const order = this.#orders[end] as number;
    const last = this.#ids[end] as number;
    let i = 0;
    for (;;) {
      let child = i * 2 + 1;
      if (child >= end) break;
      if (child + 1 < end && this.#before(child + 1, child)) child++;
      const childKey = this.#keys[child] as number;
      if (key < childKey || (key === childKey && order < (this.#orders[child] as number))) break;
      this.#move(i, child);
      i = child;
    }
    this.#keys[i] = key;
    this.#orders[i] = order;
    this.#ids[i] = last;
    return id;
  }

  #before(a: number, b: number): boolean {
    const ka = this.#keys[a] as number;
    const kb = this.#keys[b] as number;
    return ka < kb || (ka === kb && (this.#orders[a] as number) < (this.#orders[b] as number));
  }

  #move(to: number, from: number): void {
    this.#keys[to] = this.#keys[from] as number;
    this.#orders[to] = this.#orders[from] as number;
    this.#ids[to] = this.#ids[from] as number;
  }

  #grow(): void {
    const n = this.#keys.length * 2;
    const keys = new Float64Array(n);
    const orders = new Float64Array(n);
    const ids = new Uint32Array(n);
    keys.set(this.#keys);
    orders.set(this.#orders);
    ids.set(this.#ids);
    this.#keys = keys;
    this.#orders = orders;
    this.#ids = ids;
  }
}
