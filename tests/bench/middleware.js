// middleware.js: a Node server with express-idempotency, for comparison.
// SPDX-License-Identifier: Apache-2.0
//
// usage: node middleware.js PORT FILE
//
// Answers every POST with the bytes of FILE; below /plain without the
// middleware.
'use strict';
const fs = require('fs');
const express = require('express');
const idempotency = require('express-idempotency');

const port = Number(process.argv[2]);
const answer = fs.readFileSync(process.argv[3], 'latin1');
const app = express();

app.disable('x-powered-by');
app.disable('etag');
app.use(express.json());
app.post('/plain/answer', (req, res) => {
    res.type('text/plain').send(answer);
});
app.use(idempotency.idempotency());
app.post('/answer', (req, res) => {
    const service = idempotency.getSharedIdempotencyService();
    if (service.isHit(req)) {
        return;
    }
    res.type('text/plain').send(answer);
});
app.listen(port, '127.0.0.1');
