// The guide's load test. What it asks and how hard is in config.json beside it, written from the stack's `loadTest` and `targets`.
import http from 'k6/http';
import { check, sleep } from 'k6';

const config = JSON.parse(open('./config.json'));

const client = config.tlsAuthDir && {
  cert: open(`${config.tlsAuthDir}/tls.crt`),
  key: open(`${config.tlsAuthDir}/tls.key`),
};
const key = __ENV.API_KEY && { Authorization: `Bearer ${__ENV.API_KEY}` };

export const options = {
  stages: [
    { duration: config.rampUp, target: config.concurrentUsers },
    { duration: config.duration, target: config.concurrentUsers },
    { duration: config.rampDown, target: 0 },
  ],
  thresholds: config.thresholds,
  insecureSkipTLSVerify: config.insecureSkipTlsVerify,
  tlsAuth: client ? [client] : [],
};

export default function () {
  const response = http.post(config.endpoint, JSON.stringify(config.request), {
    headers: { 'Content-Type': 'application/json', ...key },
  });

  check(response, {
    'status is 200': (r) => r.status === 200,
    [`response time < ${config.latencyMs}ms`]: (r) => r.timings.duration < config.latencyMs,
  });

  sleep(1);
}
