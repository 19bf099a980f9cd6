;; W-05: asks for 4 GiB
;; outcome: call memory
;; says: KiB of memory
;; cost: quick

;;@route
(if (i32.eq (memory.grow (i32.const 65535)) (i32.const -1)) (then (unreachable)))
