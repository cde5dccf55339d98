<?php
// pay.php: takes a payment and counts how often it did so.
// SPDX-License-Identifier: Apache-2.0
$order = json_decode(file_get_contents('php://input'), true);
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
echo json_encode(['payment' => $number, 'amount' => $order['amount'] ?? null,
                  'receipt' => bin2hex(random_bytes(8))]), "\n";
