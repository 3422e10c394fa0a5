// What every script shares: where the gateway is, who asks, what is asked, how a run is summed up.
import http from 'k6/http';
import { check } from 'k6';

export const BASE = __ENV.BASE_URL || 'http://127.0.0.1:4000';
export const MASTER = __ENV.MASTER_KEY || 'sk-load-master';
const SECONDS = Number(__ENV.SECONDS || 0);

// Seconds of a stage: what the script says, or all stages scaled so that the run takes $SECONDS.
export function stages(list) {
  const total = list.reduce((sum, [seconds]) => sum + seconds, 0);
  const scale = SECONDS ? SECONDS / total : 1;
  return list.map(([seconds, target]) => ({
    duration: `${Math.max(1, Math.round(seconds * scale))}s`, target,
  }));
}

export function seconds(otherwise) {
  return `${SECONDS || otherwise}s`;
}

export function headers(key) {
  return { 'Content-Type': 'application/json', Authorization: `Bearer ${key}` };
}

// One question of about 1 KB.
export function body(model, more) {
  return JSON.stringify(Object.assign({
    model, messages: [{ role: 'user', content: 'word '.repeat(180) }], max_tokens: 64,
  }, more));
}

export function admin(method, path, fields) {
  const answer = http.request(method, `${BASE}${path}`, fields ? JSON.stringify(fields) : null, {
    headers: headers(MASTER), tags: { name: path.split('?')[0], kind: 'admin' },
  });
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${answer.body}`);
  return answer.json();
}

export function makeKey(fields) {
  return admin('POST', '/key/generate', Object.assign({ key_alias: `load-${Date.now()}-${Math.random()}` }, fields)).key;
}

export function chat(key, model, tags) {
  const answer = http.post(`${BASE}/v1/chat/completions`, body(model), {
    headers: headers(key), tags: Object.assign({ name: 'chat', kind: 'chat' }, tags),
  });
  check(answer, {
    'answered with 200': (a) => a.status === 200,
    'whole, with usage': (a) => a.status !== 200 || (a.json('usage.completion_tokens') > 0),
  });
  return answer;
}

// A stream, read to its end. `waiting` is the time to its first byte, which leaves with the first event.
export function stream(key, model, tags) {
  const answer = http.post(`${BASE}/v1/chat/completions`, body(model, { stream: true }), {
    headers: headers(key), timeout: '600s', tags: Object.assign({ name: 'stream', kind: 'stream' }, tags),
  });
  check(answer, {
    'stream begins': (a) => a.status === 200,
    'stream ends with [DONE]': (a) => a.status !== 200 || a.body.trimEnd().endsWith('data: [DONE]'),
  });
  return answer;
}

// Thresholds of an open loop of so many requests a second. A rate of failures says nothing where nothing was asked, and
// a gateway that is too slow shows in requests that k6 could not begin (`dropped_iterations`): both are looked at.
export function asked(rate, kinds, thresholds) {
  const all = { checks: ['rate>0.999'], dropped_iterations: [`rate<${Math.max(1, rate / 100)}`] };
  for (const kind of kinds) {
    all[`http_reqs{kind:${kind}}`] = ['count>0'];
    all[`http_req_failed{kind:${kind}}`] = ['rate<0.001'];
  }
  return Object.assign(all, thresholds);
}

// A few lines for a person and, with $SUMMARY, everything as JSON for a program.
export function summed(data) {
  const lines = [];
  for (const [name, metric] of Object.entries(data.metrics).sort()) {
    const values = Object.entries(metric.values)
      .filter(([key]) => ['avg', 'med', 'p(95)', 'p(99)', 'max', 'rate', 'count', 'value', 'passes', 'fails'].includes(key))
      .map(([key, value]) => `${key}=${Number(value.toFixed(3))}`);
    const broken = Object.entries(metric.thresholds || {}).filter(([, one]) => !one.ok).map(([text]) => text);
    const mark = broken.length ? ` BROKEN ${broken.join(', ')}` : (metric.thresholds ? ' ok' : '');
    if (metric.thresholds || /^(http_reqs|iterations|checks)$/.test(name)) lines.push(`${name}: ${values.join(' ')}${mark}`);
  }
  const out = { stdout: lines.join('\n') + '\n' };
  if (__ENV.SUMMARY) out[__ENV.SUMMARY] = JSON.stringify(data);
  return out;
}

export const trend = ['avg', 'med', 'p(95)', 'p(99)', 'max', 'count'];
