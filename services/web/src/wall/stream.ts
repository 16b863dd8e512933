// Server-sent events by fetch: unlike EventSource it can resume with Last-Event-ID after a connection that we gave up ourselves,
// and it tells a refusal (401, 403, 503) from a broken line. Waits grow from half a second to ten, with jitter.

export interface Message {
  readonly event: string;
  readonly data: string;
}

export interface Listener {
  message(message: Message): void;
  connected(): void;
  /** The line is down; `status` is the answer's when there was one. */
  lost(status: number | null): void;
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
/** The server sends at least one pulse every two seconds; this long a silence means a dead line. */
const SILENCE_MS = 7_000;
const LONGEST_BLOCK = 1 << 20;

/** Follows `url` until `signal` aborts. Never rejects. */
export async function follow(url: string, listener: Listener, signal: AbortSignal): Promise<void> {
  let lastId = '';
  let wait = FIRST_WAIT_MS;
  while (!signal.aborted) {
    const line = new AbortController();
    const give = (): void => line.abort();
    signal.addEventListener('abort', give, { once: true });
    let status: number | null = null;
    try {
      const watch = new Watch(give);
      const answer = await fetch(url, {
        headers: { accept: 'text/event-stream', ...(lastId && { 'last-event-id': lastId }) },
        cache: 'no-store',
        signal: line.signal,
      });
      status = answer.status;
      if (answer.ok && answer.body) {
        listener.connected();
        await drain(answer.body, watch, (block) => {
          const { id, ...message } = parse(block);
          if (message.data) {
            wait = FIRST_WAIT_MS;
            listener.message(message);
          }
          // Only now: what could not be shown is asked for again.
          if (id !== null) lastId = id;
        });
      }
      watch.stop();
    } catch {
      // Aborted, refused or broken: all end in another try.
    }
    signal.removeEventListener('abort', give);
    line.abort();
    if (signal.aborted) return;
    listener.lost(status);
    await pause(wait * (0.5 + Math.random() / 2), signal);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }
}

/** Calls back once nothing was heard for too long. */
class Watch {
  #timer: ReturnType<typeof setTimeout>;

  constructor(private readonly silent: () => void) {
    this.#timer = setTimeout(silent, SILENCE_MS);
  }

  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.silent, SILENCE_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

async function drain(body: ReadableStream<Uint8Array>, watch: Watch, take: (block: string) => void): Promise<void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let pending = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      watch.heard();
      pending += decoder.decode(value, { stream: true });
      if (pending.length > LONGEST_BLOCK) return;
      let end: number;
      while ((end = pending.indexOf('\n\n')) >= 0) {
        take(pending.slice(0, end));
        pending = pending.slice(end + 2);
      }
    }
  } finally {
    watch.stop();
  }
}

function parse(block: string): Message & { id: string | null } {
  let id: string | null = null;
  let event = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, '');
    const field = line.slice(0, colon);
    if (field === 'id') id = value;
    else if (field === 'event') event = value;
    else if (field === 'data') data.push(value);
  }
  return { id, event, data: data.join('\n') };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resume) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resume();
    }
    signal.addEventListener('abort', done, { once: true });
  });
}
