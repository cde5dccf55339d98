<?php
// events.php: five events, a tenth of a second apart; counts a run.
// SPDX-License-Identifier: Apache-2.0
file_put_contents($_SERVER['IDEM_COUNTS'] . '/' . basename($_GET['t']), 'x',
                  FILE_APPEND | LOCK_EX);
header('Content-Type: text/event-stream; charset=utf-8');
header('Cache-Control: no-cache');
while (ob_get_level() > 0) {
    ob_end_flush();
}
for ($i = 1; $i <= 5; $i++) {
    echo "id: $i\nevent: step\ndata: {\"done\":", $i * 20, "}\n\n";
    flush();
    if (($_GET['hold'] ?? '') === (string)$i) {
        require __DIR__ . '/gate.php';
    }
    usleep(100000);
}
