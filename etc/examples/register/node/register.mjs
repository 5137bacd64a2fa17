// Registers a service in etcd, by etcd's JSON API and nothing but Node.js.
// Copy the class; below it is a service that uses it.

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const base64 = (text) => Buffer.from(text).toString('base64');

/** Keeps a node registered from start() until stop(). */
export class Registration {
  #endpoints;
  #ttl;
  #key;
  #node;
  #lease = null;
  #stopping = new AbortController();
  #running = null;

  constructor({ endpoints, service, upstream, weight = 1, ttl = 10, prefix = '/my/cloud/' }) {
    const name = `${service}.${createHash('md5').update(service + upstream).digest('hex')}`;
    this.#endpoints = [...endpoints];
    this.#ttl = ttl;
    this.#key = `${prefix}discovery/${name}`;
    this.#node = { key: name, service_name: service, upstream, weight, status: 1 };
  }

  start() {
    this.#running ??= this.#run();
  }

  /** Settles when the node is gone, or cannot be removed now and goes with its lease. */
  async stop() {
    this.#stopping.abort();
    await this.#running;
  }

  async #run() {
    let failures = 0;
    while (!this.#stopping.signal.aborted) {
      let pause;
      try {
        if (this.#lease === null || !(await this.#renew())) await this.#register();
        failures = 0;
        pause = (this.#ttl * 1000) / 3;
      } catch (error) {
        console.warn(`not registered, trying again: ${error.cause ?? error}`);
        failures += 1;
        // Not all services at the same time.
        pause = Math.min(5000, 200 * 2 ** failures) * (0.5 + Math.random() / 2);
      }
      await sleep(pause, null, { signal: this.#stopping.signal }).catch(() => {});
    }
    if (this.#lease !== null) {
      await this.#call('lease/revoke', { ID: this.#lease }).catch((error) =>
        console.warn(`the node goes when its lease ends: ${error.cause ?? error}`),
      );
    }
  }

  async #register() {
    this.#lease = null;
    const { ID: lease } = await this.#call('lease/grant', { TTL: this.#ttl });
    const value = JSON.stringify({ ...this.#node, time: Date.now() });
    await this.#call('kv/put', { key: base64(this.#key), value: base64(value), lease });
    this.#lease = lease;
    console.log(`registered ${this.#key}`);
  }

  async #renew() {
    const { result } = await this.#call('lease/keepalive', { ID: this.#lease });
    // A lease that has ended has no TTL.
    return Number(result.TTL ?? 0) > 0;
  }

  async #call(path, body) {
    let failed;
    for (const endpoint of [...this.#endpoints]) {
      try {
        const answer = await fetch(`${endpoint}/v3/${path}`, {
          method: 'POST',
          body: JSON.stringify(body),
          signal: AbortSignal.timeout(3000),
        });
        if (!answer.ok) throw new Error(`${endpoint} answered ${answer.status}: ${await answer.text()}`);
        return await answer.json();
      } catch (error) {
        failed = error;
        // The next call begins with the next endpoint.
        this.#endpoints.push(this.#endpoints.shift());
      }
    }
    throw failed;
  }
}

const env = process.env;
const upstream = env.UPSTREAM ?? '127.0.0.1:8080';
const end = upstream.lastIndexOf(':');
const server = createServer((_, response) => response.end('hello from node\n'));
const registration = new Registration({
  endpoints: (env.ETCD ?? 'http://127.0.0.1:2379').split(','),
  service: env.SERVICE ?? 'demo1',
  upstream,
  ttl: Number(env.TTL ?? 10),
  prefix: env.DATA_PREFIX ?? '/my/cloud/',
});
// Listen first: requests come as soon as the node is registered.
server.listen(Number(upstream.slice(end + 1)), upstream.slice(0, end), () => registration.start());
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    await registration.stop();
    server.close();
    server.closeIdleConnections();
  });
}
