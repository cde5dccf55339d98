<?php
// c.php: counts a run, then answers as its query says.
// SPDX-License-Identifier: Apache-2.0
$asked = $_GET;
$dir = $_SERVER['IDEM_COUNTS'];
$file = fopen($dir . '/' . basename($asked['t']), 'a+b');
flock($file, LOCK_EX);
fwrite($file, 'x');
fflush($file);
$number = fstat($file)['size'];
flock($file, LOCK_UN);
fclose($file);
if (($asked['read'] ?? '') !== 'none') {
    file_put_contents($dir . '/' . basename($asked['t']) . '.body',
                      file_get_contents('php://input'));
}
if (isset($asked['die'])) {
    posix_kill(getmypid(), 9);
    sleep(10);
}
usleep((int)(1000000 * (float)($asked['sleep'] ?? 0)));
http_response_code((int)($asked['status'] ?? 201));
header('Content-Type: text/plain');
foreach ((array)($asked['h'] ?? []) as $line) {
    header($line, false);
}
if (isset($asked['env'])) {
    echo $_SERVER[$asked['env']] ?? '-', "\n";
} elseif (isset($asked['bytes'])) {
    $size = (int)$asked['bytes'];
    $text = substr(str_repeat('0123456789abcdef', intdiv($size, 16) + 1),
                   0, $size);
    foreach (str_split($text, 8192) as $piece) {
        echo $piece;
        flush();
    }
} elseif (isset($asked['chunk'])) {
    for ($i = 0; $i < 10; $i++) {
        echo str_repeat((string)$i, 1024);
        flush();
        if (($asked['hold'] ?? '') === (string)$i) {
            require __DIR__ . '/gate.php';
        }
        usleep(20000);
        if (isset($asked['cut']) && $i == 4) {
            posix_kill(getmypid(), 9);
            sleep(10);
        }
    }
} else {
    echo $number, "\n";
}
