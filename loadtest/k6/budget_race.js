// A hundred clients race for one small budget: what is spent may pass it by no more than the bound.
import http from 'k6/http';
import { Counter, Gauge } from 'k6/metrics';
import { BASE, admin, body, headers, makeKey, summed, trend } from './lib.js';

const admitted = new Counter('admitted');
const refused = new Counter('refused');
const overspend = new Gauge('overspend_ratio');
const BUDGET = Number(__ENV.BUDGET || 0.01);
// Published in docs/BUDGETS.md: reservations are made before a request is sent, so one node passes
// a budget by no more than what one request costs above its estimate.
const BOUND = Number(__ENV.BOUND || 1.05);
export const options = {
  scenarios: { race: { executor: 'shared-iterations', vus: 100, iterations: Number(__ENV.ITERATIONS || 1000), maxDuration: '120s' } },
  summaryTrendStats: trend, tags: { test: 'budget_race' },
  thresholds: { admitted: ['count>0'], refused: ['count>0'], overspend_ratio: [`value<=${BOUND}`] },
};
export const setup = () => ({ key: makeKey({ max_budget: BUDGET }) });
export default ({ key }) => {
  const answer = http.post(`${BASE}/v1/chat/completions`, body('fast', { max_tokens: 10 }), {
    headers: headers(key), tags: { kind: 'race', name: 'race' }, responseCallback: http.expectedStatuses(200, 400, 429) });
  if (answer.status === 200) admitted.add(1);
  else if (answer.status === 429 || answer.status === 400) refused.add(1);
  else throw new Error(`${answer.status}: ${answer.body}`);
};
export function teardown({ key }) {
  const spent = admin('GET', `/key/info?key=${key}`).info.spend;
  overspend.add(spent / BUDGET);
  console.log(`spent ${spent} of ${BUDGET}`);
}
export const handleSummary = summed;
