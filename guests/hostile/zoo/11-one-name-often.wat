;; W-11: a list whose 60,000 entries are the same kilobyte
;; outcome: call contract
;; says: is too large
;; cost: quick

;;@route
(loop $l
  (i32.store (i32.add (i32.const 8192) (i32.mul (local.get $n) (i32.const 8))) (i32.const 2048))
  (i32.store (i32.add (i32.const 8196) (i32.mul (local.get $n) (i32.const 8))) (i32.const 1024))
  (local.set $n (i32.add (local.get $n) (i32.const 1)))
  (br_if $l (i32.lt_u (local.get $n) (i32.const 120000))))
(drop (call $forward)) (i32.store (i32.const 1044) (i32.const 8192)) (i32.store (i32.const 1048) (i32.const 60000)) (return (i32.const 1024))
