// The program is changed under load, again and again: RATE requests/s and STREAMS streams at a time.
import { chat, makeKey, seconds, stream, summed, trend } from './lib.js';

const rate = Number(__ENV.RATE || 500);
const duration = seconds(180);
export const options = {
  scenarios: {
    asks: { executor: 'constant-arrival-rate', exec: 'asks', rate, timeUnit: '1s', duration, preAllocatedVUs: 200, maxVUs: 5000, gracefulStop: '60s' },
    streams: { executor: 'constant-vus', exec: 'streams', vus: Number(__ENV.STREAMS || 1000), duration, gracefulStop: '60s' },
  },
  summaryTrendStats: trend, tags: { test: 'upgrade' },
  thresholds: {
    'http_reqs{kind:chat}': ['count>0'], 'http_req_failed{kind:chat}': ['rate==0'],
    'http_reqs{kind:stream}': ['count>0'], 'http_req_failed{kind:stream}': ['rate==0'], checks: ['rate==1'],
  },
};
export const setup = () => ({ key: makeKey({ max_budget: 1000000 }) });
export const asks = ({ key }) => { chat(key, 'fast'); };
export const streams = ({ key }) => { stream(key, 'slow-stream'); };
export const handleSummary = summed;
