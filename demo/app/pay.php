<?php
// pay.php: takes a payment and counts how often it did so.
// SPDX-License-Identifier: Apache-2.0
$order = isset($_POST['amount'])
    ? $_POST : json_decode(file_get_contents('php://input'), true);
if (($order['amount'] ?? 0) <= 0) {
    // Nothing was done: the key may be used for the corrected request.
    header('Idempotency-Record: no');
    http_response_code(400);
    exit("an amount above 0, please\n");
}
$file = fopen(getenv('PAYMENTS') ?: $_SERVER['PAYMENTS'], 'c+');
flock($file, LOCK_EX);
$number = (int)stream_get_contents($file) + 1;
rewind($file);
fwrite($file, (string)$number);
fflush($file);
flock($file, LOCK_UN);
sleep((int)($_GET['sleep'] ?? 0));
http_response_code(201);
header('Content-Type: application/json');
header("Location: /payments/$number");
echo json_encode(['payment' => $number, 'amount' => (int)$order['amount'],
                  'receipt' => bin2hex(random_bytes(8))]), "\n";
