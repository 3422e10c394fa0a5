// Half an hour of everything: 5 % of clients leave in the middle, 2 % of answers are a provider's
// errors, keys come and go. The runner reloads the configuration every minute and watches memory.
import http from 'k6/http';
import { BASE, admin, asked, body, chat, headers, makeKey, seconds, stream, summed, trend } from './lib.js';

const rate = Number(__ENV.RATE || 200);
const open = (exec, each) => ({ executor: 'constant-arrival-rate', exec, rate: Math.max(1, Math.round(each)), timeUnit: '1s', duration: seconds(1800), preAllocatedVUs: 50, maxVUs: 2000 });
const all = { asks: open('asks', rate * 0.63), streams: open('streams', rate * 0.3), leaves: open('leaves', rate * 0.05), fails: open('fails', rate * 0.02), keys: open('keys', 1) };
// $MIX names ingredients with their rates instead, to find which one grows: MIX=leaves:200,keys:1.
const mixed = (text) => Object.fromEntries(text.split(',').map((one) => one.split(':')).map(([exec, each]) => [exec, open(exec, Number(each))]));
const scenarios = __ENV.MIX ? mixed(__ENV.MIX) : all;
// What each ingredient asks for; of those that leave nothing can be said here.
const KINDS = { asks: ['chat'], streams: ['stream'], leaves: [], fails: ['fails'], keys: ['admin', 'churn'] };
const kinds = Object.keys(scenarios).flatMap((exec) => KINDS[exec]);
const strict = Object.fromEntries(kinds.map((kind) => [`http_req_failed{kind:${kind}}`, ['rate<0.0001']]));
// Clients that leave and errors check nothing, and the rate of no checks is 0.
strict.checks = scenarios.asks || scenarios.streams || scenarios.keys ? ['rate>0.9999'] : [];
export const options = {
  scenarios, summaryTrendStats: trend, tags: { test: 'soak' },
  thresholds: asked(rate, kinds, strict),
};
export const setup = () => ({ key: makeKey({ max_budget: 1000000 }) });
export const asks = ({ key }) => { chat(key, 'fast'); };
export const streams = ({ key }) => { stream(key, 'fast'); };
// k6 closes the connection when its patience ends: the gateway sees a client that left.
export const leaves = ({ key }) => {
  http.post(`${BASE}/v1/chat/completions`, body('slow-stream', { stream: true }), { headers: headers(key), timeout: '300ms', tags: { kind: 'leaves', name: 'leaves' } });
};
export const fails = ({ key }) => {
  http.post(`${BASE}/v1/chat/completions`, body('broken'), { headers: headers(key), tags: { kind: 'fails', name: 'fails' }, responseCallback: http.expectedStatuses({ min: 500, max: 599 }, 429) });
};
export const keys = () => {
  const key = makeKey({ max_budget: 1, duration: '1h' });
  chat(key, 'fast', { kind: 'churn' });
  admin('POST', '/key/delete', { keys: [key] });
};
export const handleSummary = summed;
