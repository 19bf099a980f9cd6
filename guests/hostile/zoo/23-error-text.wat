;; W-23: an error of 60,000 bytes of escape codes and line ends: cut to one short line
;; outcome: call error
;; says: error:
;; cost: quick

;;@route
(memory.fill (i32.const 8192) (i32.const 0x1b) (i32.const 30000))
(memory.fill (i32.const 38192) (i32.const 0x0a) (i32.const 30000))
(i32.store (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1028) (i32.const 8192)) (i32.store (i32.const 1032) (i32.const 60000))
(return (i32.const 1024))
