// Does everything work at all: one client, every kind of request, half a minute.
import http from 'k6/http';
import { check } from 'k6';
import { BASE, body, chat, headers, makeKey, seconds, stream, summed, trend } from './lib.js';

export const options = {
  vus: 1, duration: seconds(30), summaryTrendStats: trend, tags: { test: 'smoke' },
  thresholds: { checks: ['rate==1'], 'http_req_failed{kind:chat}': ['rate==0'], 'http_req_failed{kind:stream}': ['rate==0'] },
};

export const setup = () => ({ key: makeKey({ max_budget: 5, rpm_limit: 1000000 }) });

export default function ({ key }) {
  chat(key, 'fast');
  stream(key, 'fast');
  const messages = http.post(`${BASE}/v1/messages`, body('claude'), { headers: headers(key), tags: { kind: 'chat', name: 'messages' } });
  check(messages, { 'messages answers': (a) => a.status === 200 && a.json('type') === 'message' });
  const nobody = http.post(`${BASE}/v1/chat/completions`, body('fast'), { headers: headers('sk-nobody'), tags: { kind: 'refused', name: 'refused' }, responseCallback: http.expectedStatuses(401) });
  check(nobody, { 'a stranger gets 401': (a) => a.status === 401 });
  check(http.get(`${BASE}/health/readiness`, { tags: { kind: 'health', name: 'readiness' } }), { ready: (a) => a.status === 200 });
}

export const handleSummary = summed;
