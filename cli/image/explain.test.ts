import assert from 'node:assert/strict';
import test from 'node:test';
import { textOf } from './explain.ts';

test('each endpoint has its settings with their sources', () => {
  const text = textOf({
    reference: 'quay.io/centos/centos:7',
    completedBy: '/etc/containers/registries.conf.d/shortnames.conf:8',
    endpoints: [
      {
        url: 'https://harbor.example/v2/proxy/centos/centos/manifests/7?ns=quay.io',
        source: '/etc/containerd/certs.d/quay.io/hosts.toml:3',
        resolves: false,
        serves: true,
        scope: 'repository:proxy/centos/centos:pull',
        credentials: '/etc/crisp/auth.json: harbor.example',
        proxy: 'proxy.example:3128 (HTTPS_PROXY)',
        authorities: '/etc/ssl/certs/ca-certificates.crt, /etc/ca.pem',
        skipVerify: false,
        clientCertificates: ['/etc/c.cert'],
        headers: ['x-meta'],
        dialTimeoutMs: 200,
        answer: { ms: 12, status: 401, login: 'bearer https://harbor.example/service/token' },
      },
      {
        url: 'http://quay.io/v2/centos/centos/manifests/7',
        source: 'default',
        resolves: true,
        serves: true,
        scope: 'repository:centos/centos:pull',
        skipVerify: true,
        clientCertificates: [],
        headers: [],
        answer: { ms: 3, error: 'refused\u001b[31m' },
      },
    ],
    unused: ['/etc/containers/registries.conf:12'],
  });
  assert.equal(
    text,
    `quay.io/centos/centos:7
   completed by  /etc/containers/registries.conf.d/shortnames.conf:8

1. https://harbor.example/v2/proxy/centos/centos/manifests/7?ns=quay.io
   from          /etc/containerd/certs.d/quay.io/hosts.toml:3
   asked for     digests, blobs
   scope         repository:proxy/centos/centos:pull
   credentials   /etc/crisp/auth.json: harbor.example
   proxy         proxy.example:3128 (HTTPS_PROXY)
   authorities   /etc/ssl/certs/ca-certificates.crt, /etc/ca.pem
   certificate   /etc/c.cert
   headers       x-meta
   dial timeout  200 ms
   answer        401, login: bearer https://harbor.example/service/token (12 ms)

2. http://quay.io/v2/centos/centos/manifests/7
   from          default
   asked for     tags, digests, blobs
   scope         repository:centos/centos:pull
   credentials   none of the node; those of the pod
   proxy         none
   answer        refused\\x1b[31m (3 ms)

Not used: /etc/containers/registries.conf:12
`,
  );
});
