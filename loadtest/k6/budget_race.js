// A hundred clients race for one small budget: it is used, and passed by no more than one request costs.
import http from 'k6/http';
import { Counter, Gauge } from 'k6/metrics';
import { BASE, admin, body, headers, makeKey, summed, trend } from './lib.js';

const admitted = new Counter('admitted');
const refused = new Counter('refused');
const used = new Gauge('used_ratio');
const over = new Gauge('over_requests');
const BUDGET = Number(__ENV.BUDGET || 0.01);
// The published bound of one node (docs/LIMITS.md): the last request may pass the budget by its own cost.
const BOUND = Number(__ENV.BOUND || 1);
export const options = {
  scenarios: { race: { executor: 'shared-iterations', vus: 100, iterations: Number(__ENV.ITERATIONS || 1000), maxDuration: '120s' } },
  summaryTrendStats: trend, tags: { test: 'budget_race' },
  thresholds: {
    admitted: ['count>0'], refused: ['count>0'], 'http_req_failed{kind:race}': ['rate==0'],
    used_ratio: ['value>0.8'], over_requests: [`value<=${BOUND}`],
  },
};
const ask = (key) => http.post(`${BASE}/v1/chat/completions`, body('fast', { max_tokens: 10 }), {
  headers: headers(key), tags: { kind: 'race', name: 'race' }, responseCallback: http.expectedStatuses(200, 429) });
// What one request costs is asked with a key of its own.
export function setup() {
  const cost = Number(ask(makeKey({})).headers['X-Litellm-Response-Cost']);
  if (!(cost > 0)) throw new Error(`a request costs ${cost}`);
  return { key: makeKey({ max_budget: BUDGET }), cost };
}
export default ({ key }) => {
  const answer = ask(key);
  if (answer.status === 200) admitted.add(1);
  if (answer.status === 429) refused.add(1);
};
export function teardown({ key, cost }) {
  const spent = admin('GET', `/key/info?key=${key}`).info.spend;
  used.add(spent / BUDGET);
  over.add(Math.max(0, spent - BUDGET) / cost);
  console.log(`spent ${spent} of ${BUDGET}, ${cost} a request`);
}
export const handleSummary = summed;
