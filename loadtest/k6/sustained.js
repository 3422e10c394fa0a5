// A steady rate in an open loop: what a usual day looks like. RATE requests/s for two minutes.
import { asked, chat, makeKey, seconds, summed, trend } from './lib.js';

const rate = Number(__ENV.RATE || 500);
export const options = {
  scenarios: { steady: { executor: 'constant-arrival-rate', rate, timeUnit: '1s', duration: seconds(120), preAllocatedVUs: 50, maxVUs: 2000 } },
  summaryTrendStats: trend, tags: { test: 'sustained' },
  thresholds: asked(rate, ['chat'], {
    checks: ['rate>0.9999'],
    'http_req_failed{kind:chat}': ['rate<0.0001'],
    'http_req_duration{kind:chat}': [`p(95)<${__ENV.P95_MS || 50}`, `p(99)<${__ENV.P99_MS || 200}`],
  }),
};
export const setup = () => ({ key: makeKey({ max_budget: 1000000, rpm_limit: 100000000, tpm_limit: 100000000000 }) });
export default ({ key }) => { chat(key, 'fast'); };
export const handleSummary = summed;
