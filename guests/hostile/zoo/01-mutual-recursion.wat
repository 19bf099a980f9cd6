;; W-01: two functions that call each other, never deep, without an end
;; outcome: call timeout
;; says: it ran longer than
;; cost: budget

;;@module
(func $ping (param $depth i32) (if (local.get $depth) (then (call $pong (i32.sub (local.get $depth) (i32.const 1))))))
(func $pong (param $depth i32) (if (local.get $depth) (then (call $ping (i32.sub (local.get $depth) (i32.const 1))))))

;;@route
(loop $l (call $ping (i32.const 50)) (br $l))
