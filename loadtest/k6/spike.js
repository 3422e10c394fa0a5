// Ten times the usual rate within five seconds, and back: nobody is dropped, and it recovers.
import { asked, chat, makeKey, stages, summed, trend } from './lib.js';

const rate = Number(__ENV.RATE || 100);
export const options = {
  scenarios: { spike: { executor: 'ramping-arrival-rate', startRate: rate, timeUnit: '1s', preAllocatedVUs: 100, maxVUs: 4000,
    stages: stages([[30, rate], [5, rate * 10], [20, rate * 10], [5, rate], [30, rate]]) } },
  summaryTrendStats: trend, tags: { test: 'spike' },
  thresholds: asked(rate, ['chat'], { 'http_req_duration{kind:chat}': [`p(99)<${__ENV.P99_MS || 2000}`] }),
};
export const setup = () => ({ key: makeKey({ max_budget: 1000000 }) });
export default ({ key }) => { chat(key, 'fast'); };
export const handleSummary = summed;
